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
  const message = oneLine(error instanceof Error ? error.message : String(error));
  if (isExplained(error)) return `tessera: ${message}`;
  const name = error instanceof Error ? `${error.name}: ` : '';
  return `tessera: unexpected failure: ${name}${message} (--debug shows where)`;
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
