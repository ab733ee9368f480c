/** A JSON or YAML file through its schema: what is missing, broken or of another shape is one error with the file's name. */

import { readFileSync } from 'node:fs';
import { parseConfig } from '@tessera/schedule';
import type { z } from 'zod';
import { DataError } from './data-error.ts';

/** @param parse of the file's text; default: JSON */
export function readConfig<Schema extends z.ZodType>(
  path: string,
  schema: Schema,
  parse: (text: string) => unknown = JSON.parse,
): z.output<Schema> {
  let content: unknown;
  try {
    content = parse(readFileSync(path, 'utf8'));
  } catch (error) {
    const [reason] = (error as Error).message.split('\n');
    throw new DataError('FILE_BROKEN', `${path} cannot be read: ${reason}`, { cause: error });
  }
  return parseConfig(schema, content, path);
}
