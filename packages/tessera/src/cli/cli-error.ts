/** Wrong arguments, as the person who typed them should read it. */

import { printable } from './printable.ts';

export type CliErrorCode = 'UNKNOWN_COMMAND' | 'UNKNOWN_FLAG' | 'ARGUMENT';

export class CliError extends Error {
  readonly code: CliErrorCode;

  constructor(code: CliErrorCode, message: string) {
    super(message);
    this.name = 'CliError';
    this.code = code;
  }
}

/**
 * What stderr shows of an error: one line. Errors with a text `code` are ours, or the system's about a file, and say
 * what to do; any other is a defect, and the line says how to see where it came from.
 */
export function describeError(error: unknown, debug: boolean): string {
  if (debug) return `tessera: ${error instanceof Error ? withCauses(error) : String(error)}`;
  const message = oneLine(inWords(error) ?? (error instanceof Error ? error.message : String(error)));
  if (isExplained(error)) return `tessera: ${message}`;
  const name = error instanceof Error ? `${error.name}: ` : '';
  return `tessera: unexpected failure: ${name}${message} (--debug shows where)`;
}

/** What the system says of files, by its code. */
const SYSTEM: Readonly<Record<string, string>> = {
  EEXIST: 'is there already: expected a folder, or a new name',
  ENOTDIR: 'goes through a file: expected folders on the way',
  EISDIR: 'is a folder: expected a file',
  EACCES: 'may not be opened by this user',
  EPERM: 'may not be changed by this user',
  EROFS: 'is on a file system that cannot be written',
  ENOSPC: 'has no space left on its disk',
};

function inWords(error: unknown): string | undefined {
  const { code, path, dest } = (error ?? {}) as { code?: unknown; path?: unknown; dest?: unknown };
  const place = dest ?? path;
  const words = typeof code === 'string' && Object.hasOwn(SYSTEM, code) ? SYSTEM[code] : undefined;
  return words === undefined || typeof place !== 'string' ? undefined : `${place} ${words} (${code as string}).`;
}

function isExplained(error: unknown): boolean {
  return error instanceof Error && typeof (error as { code?: unknown }).code === 'string';
}

function withCauses(error: Error): string {
  const stack = error.stack ?? String(error);
  return error.cause instanceof Error ? `${stack}\nCaused by: ${withCauses(error.cause)}` : stack;
}

function oneLine(text: string): string {
  return printable(text.replace(/\s*\n\s*/g, ' ').trim());
}
