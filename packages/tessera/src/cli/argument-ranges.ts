/** Ranges by name on the command line: `NAME=LOW,HIGH`. */

import { CliError } from './cli-error.ts';

/** @param names those that there are */
export function parseRanges<Name extends string>(
  option: string,
  words: readonly string[],
  names: readonly Name[],
): Partial<Record<Name, [number, number]>> {
  return Object.fromEntries(
    words.map((word) => {
      const [name = '', range = ''] = word.split('=');
      const parts = range.split(',').map((part) => (part.trim() === '' ? Number.NaN : Number(part)));
      if (!names.some((known) => known === name) || parts.length !== 2 || !parts.every(Number.isFinite)) {
        throw new CliError(
          'ARGUMENT',
          `${option}: expected NAME=LOW,HIGH with a name of ${names.join(', ')}, got "${word}"`,
        );
      }
      return [name, parts as [number, number]];
    }),
  ) as Partial<Record<Name, [number, number]>>;
}
