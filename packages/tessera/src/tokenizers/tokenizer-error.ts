/** Errors of tokenizers: what was expected, what came, what to do. */

export type TokenizerErrorCode =
  | 'IMAGE_SIZE'
  | 'IMAGE_SHAPE'
  | 'TOKEN_SHAPE'
  | 'TOKEN_GRID'
  | 'TRAINING_IMAGES'
  | 'DISCRIMINATOR'
  | 'LPIPS'
  | 'BANDS';

export class TokenizerError extends Error {
  readonly code: TokenizerErrorCode;

  constructor(code: TokenizerErrorCode, message: string) {
    super(message);
    this.name = 'TokenizerError';
    this.code = code;
  }
}
