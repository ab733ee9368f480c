/**
 * The one error that every reader and writer of this package throws.
 *
 * A file from outside is never trusted, so each rule of each format has its own stable `code`
 * (`safetensors.header-too-large`, `zip.crc`, `pickle.unknown-global` ...). Programs branch on the code;
 * people read the message, which says what was expected, what came and where.
 */

/** Where an error was found: the file (or the entry inside an archive) and, if known, the byte. */
export interface FormatPlace {
  readonly file: string;
  /** Byte offset from the start of `file`. */
  readonly offset?: number;
  readonly cause?: unknown;
}

export class FormatError extends Error {
  /** `format.rule`, stable between versions. */
  readonly code: string;
  readonly file: string;
  readonly offset?: number;

  constructor(code: string, message: string, place: FormatPlace) {
    const at = place.offset === undefined ? '' : `, byte ${place.offset}`;
    super(`${place.file}${at}: ${message}`, place.cause === undefined ? undefined : { cause: place.cause });
    this.name = 'FormatError';
    this.code = code;
    this.file = place.file;
    if (place.offset !== undefined) this.offset = place.offset;
  }
}
