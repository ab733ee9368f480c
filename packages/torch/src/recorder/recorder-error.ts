// Why a recording could not become a graph.

export type RecorderErrorCode =
  /** The probe sizes cannot tell affine functions from others. */
  | 'PROBES'
  /** Two probes ran different operations: the code branches on sizes or values. */
  | 'STRUCTURE'
  /** A whole number of an operation is no affine function of the named sizes. */
  | 'NOT_AFFINE'
  /** An operation, or a form of it, has no ONNX lowering. */
  | 'UNSUPPORTED'
  /** A tensor came neither from an input, nor from a constant, nor from an operation. */
  | 'UNKNOWN_TENSOR';

export class RecorderError extends Error {
  readonly code: RecorderErrorCode;

  constructor(code: RecorderErrorCode, message: string) {
    super(message);
    this.name = 'RecorderError';
    this.code = code;
  }
}
