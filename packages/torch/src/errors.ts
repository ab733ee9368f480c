// Errors of the engine: what failed, in which operation, with which shapes.

export type TensorErrorCode =
  /** A tensor was used after its scope ended or after dispose(). */
  | 'DISPOSED'
  /** libtorch refused the arguments or failed. */
  | 'TORCH'
  /** The native addon is missing or out of date. */
  | 'NO_ADDON'
  /** The operation needs CUDA: another build of libtorch, or a device. */
  | 'NO_CUDA'
  /** A scope was used against its rules. */
  | 'SCOPE';

export class TensorError extends Error {
  readonly code: TensorErrorCode;
  /** The operation that failed, if one did. */
  readonly operation?: string;

  constructor(code: TensorErrorCode, message: string, options: { operation?: string; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'TensorError';
    this.code = code;
    if (options.operation !== undefined) this.operation = options.operation;
  }
}
