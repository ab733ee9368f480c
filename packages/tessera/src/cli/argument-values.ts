/** Texts of the command line as numbers and lists, with errors that say what was expected and what came. */

import { relative } from 'node:path';
import { z } from 'zod';

/** A whole number in [min, max]. */
export function wholeNumber(min: number, max = Number.MAX_SAFE_INTEGER) {
  const range = max === Number.MAX_SAFE_INTEGER ? `of at least ${min}` : `from ${min} to ${max}`;
  return numberWhere(`a whole number ${range}`, (x) => Number.isSafeInteger(x) && x >= min && x <= max);
}

/** A number in [min, max]; scientific notation is fine. */
export function realNumber(min: number, max: number) {
  return numberWhere(`a number from ${min} to ${max}`, (x) => x >= min && x <= max);
}

/** From `min` to `max` numbers, as words of their own or separated by commas. */
export function numberList(min: number, max: number) {
  const howMany = min === max ? `${min}` : `${min} to ${max}`;
  return z.array(z.string()).transform((words, context) => {
    const parts = words.flatMap((word) => word.split(','));
    const values = parts.map((part) => (DECIMAL.test(part) ? Number(part) : Number.NaN));
    if (values.length >= min && values.length <= max && !values.some(Number.isNaN)) return values;
    context.addIssue({ code: 'custom', message: `expected ${howMany} numbers, got "${words.join(' ')}"` });
    return z.NEVER;
  });
}

/** One of some words; `explain` may say more of a word that is none of them. */
export function oneOf<const Words extends readonly [string, ...string[]]>(
  words: Words,
  explain?: (word: string) => string | undefined,
) {
  return z.enum(words, {
    error: ({ input }) => explain?.(String(input)) ?? `expected ${words.join(', ')}, got "${String(input)}"`,
  });
}

/** A text that is not empty, such as a path. */
export function text(what: string) {
  return z.string().min(1, { error: `expected ${what}, got an empty text` });
}

/** Digits only: Number() alone would take '' and ' 0x10 ' too. */
const DECIMAL = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;

function numberWhere(what: string, accept: (value: number) => boolean) {
  return z.string().transform((input, context) => {
    const value = DECIMAL.test(input) ? Number(input) : Number.NaN;
    if (accept(value)) return value;
    context.addIssue({ code: 'custom', message: `expected ${what}, got "${input}"` });
    return z.NEVER;
  });
}

/** A path as one would type it here: relative where that is shorter, quoted where it has spaces. */
export function typedPath(path: unknown): string {
  const whole = String(path);
  const fromHere = relative('', whole);
  const short = fromHere.length < whole.length ? fromHere : whole;
  return /[^\w@%+=:,./-]/.test(short) ? `'${short.replaceAll("'", "'\\''")}'` : short;
}
