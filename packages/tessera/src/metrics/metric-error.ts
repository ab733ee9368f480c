/** The error class of metrics: a stable `code`, and one sentence that says what was expected, what came and what to do. */

export type MetricErrorCode =
  | 'METRIC_SHAPE'
  | 'METRIC_DIMENSION'
  | 'METRIC_TOO_FEW'
  | 'METRIC_NOT_FINITE'
  | 'METRIC_OPTIONS'
  | 'METRIC_WEIGHTS';

export class MetricError extends Error {
  readonly code: MetricErrorCode;

  constructor(code: MetricErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = 'MetricError';
    this.code = code;
  }
}
