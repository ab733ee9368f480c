/**
 * The one error class of this package.
 *
 * `code` is stable and meant for programs; the message is meant for people and says what was
 * expected, what came, where, and what to do. Everything here is pure arithmetic on settings,
 * so each error is a wrong argument and none is worth retrying.
 */

export type ScheduleErrorCode = 'argument-out-of-range' | 'buffer-size' | 'config-invalid';

export class ScheduleError extends Error {
  readonly code: ScheduleErrorCode;

  constructor(code: ScheduleErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'ScheduleError';
    this.code = code;
  }
}

/** Throws unless `value` is an integer with min <= value <= max. `what` names the argument in the message. */
export function requireInteger(value: number, min: number, max: number, what: string): void {
  if (!Number.isInteger(value) || value < min || value > max) {
    throw new ScheduleError(
      'argument-out-of-range',
      `Expected ${what} to be an integer in [${min}, ${max}], got ${String(value)}`,
    );
  }
}

/** Throws unless `value` is a finite number with min <= value <= max. */
export function requireNumber(value: number, min: number, max: number, what: string): void {
  if (!Number.isFinite(value) || value < min || value > max) {
    throw new ScheduleError(
      'argument-out-of-range',
      `Expected ${what} to be a finite number in [${min}, ${max}], got ${String(value)}`,
    );
  }
}
