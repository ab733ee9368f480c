/** An error of the set-up meant for a person: the message says what is missing and what to do. */
export declare class SetupFailure extends Error {
  readonly code: string;
  constructor(code: string, message: string, options?: { cause?: unknown });
}
