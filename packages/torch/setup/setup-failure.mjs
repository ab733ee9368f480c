// The one error of the set-up that is meant for a person: its message says what is missing and what to do, and is
// printed without a stack trace. Anything else that is thrown here is a defect and keeps its trace.

export class SetupFailure extends Error {
  /**
   * @param {string} code stable name of the failure, for programs
   * @param {string} message what is missing or wrong, and what to do
   * @param {{cause?: unknown}} [options]
   */
  constructor(code, message, options) {
    super(message, options);
    this.name = 'SetupFailure';
    this.code = code;
  }
}
