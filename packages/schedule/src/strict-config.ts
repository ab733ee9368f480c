/**
 * Config objects that refuse keys they do not know and name the nearest one they do.
 *
 * A mistyped key that is silently ignored trains the wrong model for a week; so every config
 * schema is made with `strictConfig` and read with `parseConfig`, which turns zod's issues into
 * one error of one line: where, what was expected, what came.
 */

import { z } from 'zod';
import { nearest } from './nearest.ts';
import { ScheduleError } from './schedule-error.ts';

/** Like z.strictObject, with an "unknown key" message that suggests the nearest known key. */
export function strictConfig<Shape extends z.core.$ZodShape>(shape: Shape) {
  const known = Object.keys(shape);
  return z.strictObject(shape, {
    error: (issue) =>
      issue.code === 'unrecognized_keys' ? issue.keys.map((k) => unknownKey(k, known)).join('; ') : undefined,
  });
}

/** A long list that is wrong throughout would fill pages. */
const MOST_ISSUES = 6;

/** The parsed value; `what` names the thing read ("strategy.yaml") at the start of the error. */
export function parseConfig<Schema extends z.ZodType>(schema: Schema, value: unknown, what: string): z.output<Schema> {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const all = result.error.issues;
  const issues = all.slice(0, MOST_ISSUES).map((issue) => {
    const place = placeOf(issue.path);
    return place === '' ? issue.message : `${place}: ${issue.message}`;
  });
  const more = all.length > MOST_ISSUES ? `; and ${all.length - MOST_ISSUES} more` : '';
  throw new ScheduleError('config-invalid', `${what}: ${issues.join('; ')}${more}`, { cause: result.error });
}

function unknownKey(key: string, known: readonly string[]): string {
  const near = nearest(key, known);
  const shown = JSON.stringify(key.length > 64 ? `${key.slice(0, 64)}...` : key);
  return near === undefined
    ? `unknown key ${shown}; known keys: ${known.join(', ')}`
    : `unknown key ${shown}; did you mean "${near}"?`;
}

function placeOf(path: readonly PropertyKey[]): string {
  let place = '';
  for (const part of path) {
    if (typeof part === 'number') place += `[${part}]`;
    else place += place === '' ? String(part) : `.${String(part)}`;
  }
  return place;
}
