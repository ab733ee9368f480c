// Which lines of a stack are this package's own: they say that an operation was called, not where a model called it.

import { fileURLToPath } from 'node:url';

/** Stacks name files by URL or, where they were mapped to sources, by path. */
const OWN_FOLDERS = [new URL('.', import.meta.url).href, fileURLToPath(new URL('.', import.meta.url))];

export function isOwnFrame(line: string): boolean {
  return OWN_FOLDERS.some((folder) => line.includes(folder)) && !line.includes('.test.');
}
