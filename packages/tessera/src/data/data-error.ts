/**
 * The error class of everything that reads images and image folders: a stable `code` for programs, and one sentence
 * for people that says what was expected, what came, where, and what to do.
 */

export type DataErrorCode =
  | 'IMAGE_EMPTY'
  | 'IMAGE_UNREADABLE'
  | 'IMAGE_TOO_LARGE'
  | 'IMAGE_BAD_PIXELS'
  | 'RESIZE_BAD_SIZE'
  | 'FOLDER_MISSING'
  | 'FOLDER_EMPTY'
  | 'FOLDER_ALL_BROKEN'
  | 'FOLDER_BAD_SPLIT'
  | 'FOLDER_OF_SPLITS'
  | 'TAR_CLASSES'
  | 'CLASS_NAMES'
  | 'EMOJI_PACKAGE_MISSING'
  | 'EMOJI_OUTPUT_TAKEN'
  | 'SHEET_BAD_IMAGES'
  | 'NOT_PREPARED'
  | 'FILE_BROKEN'
  | 'OUT_TAKEN'
  | 'TOKENS_MISSING'
  | 'TOKENS_BROKEN'
  | 'TOKENS_RANGE'
  | 'TOKENS_SIZE'
  | 'TOKENS_CODEBOOK'
  | 'TOKENS_CLASSES'
  | 'TOKENS_UNLIKE'
  | 'TOKENS_WEIGHTS'
  | 'TOKENIZE_PLAN';

export class DataError extends Error {
  readonly code: DataErrorCode;

  constructor(code: DataErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = 'DataError';
    this.code = code;
  }
}
