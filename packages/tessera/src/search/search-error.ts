/** What is wrong with a search, in one line: expected, got, what to do. */

export type SearchErrorCode =
  /** Bounds that hold no point, or a start that no schedule can have. */
  | 'SEARCH_BOUNDS'
  /** Lists of another number of steps. */
  | 'SEARCH_STEPS'
  /** Settings that do not belong together. */
  | 'SEARCH_OPTIONS'
  /** An objective that gave no number, or lacks what it measures against. */
  | 'SEARCH_OBJECTIVE'
  /** The record of a search and the search itself disagree. */
  | 'SEARCH_RECORD'
  /** Weights or settings have changed since the search began. */
  | 'SEARCH_CHANGED';

export class SearchError extends Error {
  readonly code: SearchErrorCode;

  constructor(code: SearchErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'SearchError';
    this.code = code;
  }
}
