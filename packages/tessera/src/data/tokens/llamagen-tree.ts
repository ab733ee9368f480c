/**
 * The layout of LlamaGen and NPP (reference §2.4, §2.5): under one folder `imagenet{S}_codes/{i}.npy`, int64
 * [1, pictures, L], and `imagenet{S}_labels/{i}.npy`, int64 [1], for image i of the sorted list.
 *
 * How many there are is found by halving, not by listing a million names. Extractions by several processes repeat
 * their first images at the end, to make shares equal: such a tail is left out, here as it is never written.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { bytesReader, encodeNpy, type NpyHeader, readNpyHeader } from '@tessera/formats';
import { DataError } from '../data-error.ts';
import { fingerprintOf } from './fingerprint.ts';
import { type IntegerType, integerBytes, isIntegerType, readIntegers } from './integers.ts';
import { type AssumedTokens, codesAndClasses, writeSidecar } from './sidecar.ts';
import { gridSideOf, StoredTokens, type TokensToWrite, type TokenWriter } from './token-rows.ts';

const LLAMAGEN_CODEBOOK = 16384;
/** More processes than anyone extracts with: the longest tail that is looked for. */
const LONGEST_TAIL = 256;

export interface TreeOptions extends AssumedTokens {
  /** S, where a folder holds more than one extraction. */
  imageSize?: number | undefined;
}

export class LlamaGenTokens extends StoredTokens {
  readonly path: string;
  readonly imageSize: number;
  readonly numRows: number;
  readonly picturesPerImage: number;
  readonly seqLen: number;
  readonly codebookSize: number;
  readonly classes: readonly string[];
  /** Files at the end that repeat the first ones. */
  readonly repeatedTail: number;
  private readonly header: NpyHeader;
  private readonly headerBytes: Uint8Array;
  private readonly fileBytes: number;

  private constructor(path: string, imageSize: number, options: TreeOptions) {
    super();
    this.path = path;
    this.imageSize = imageSize;
    const first = this.file('codes', 0);
    const reader = bytesReader(readFileOrExplain(first), first);
    this.header = readNpyHeader(reader);
    const { dtype, shape, fortranOrder, bigEndian } = this.header;
    if (!isIntegerType(dtype) || fortranOrder || bigEndian || shape.length !== 3 || shape[0] !== 1 || shape[1]! < 1) {
      throw new DataError(
        'TOKENS_BROKEN',
        `${first}: expected whole numbers [1, pictures, L], got ${dtype} (${shape}).`,
      );
    }
    this.headerBytes = reader.read(0, this.header.dataOffset);
    this.fileBytes = reader.byteLength;
    this.picturesPerImage = shape[1]!;
    this.seqLen = shape[2]!;
    gridSideOf(this.seqLen, first);
    const { codebookSize, classes } = codesAndClasses(treeSidecar(path, imageSize), options, LLAMAGEN_CODEBOOK);
    this.codebookSize = codebookSize;
    this.classes = classes;
    const numFiles = countFiles((i) => existsSync(this.file('codes', i)));
    // Ours have none.
    this.repeatedTail = existsSync(treeSidecar(path, imageSize)) ? 0 : this.tailOf(numFiles);
    this.numRows = numFiles - this.repeatedTail;
  }

  static open(path: string, options: TreeOptions = {}): LlamaGenTokens {
    const sizes = treeSizes(path);
    const { imageSize = sizes.length === 1 ? sizes[0] : undefined } = options;
    if (imageSize === undefined || !sizes.includes(imageSize)) {
      const there = sizes.map((size) => `imagenet${size}_codes`).join(', ');
      throw new DataError(
        'TOKENS_SIZE',
        imageSize === undefined
          ? `${path} holds ${there}: say which with --size.`
          : `${path} holds ${there}, but the model is for ${imageSize} px: tokenize with --size ${imageSize}.`,
      );
    }
    return new LlamaGenTokens(path, imageSize, options).probe();
  }

  get byteLength(): number {
    return this.numRows * this.fileBytes;
  }

  get identity(): unknown {
    const files = [0, 1, 2, 3].map((i) => this.file('codes', Math.floor((i * (this.numRows - 1)) / 3)));
    const fingerprints = files.map((file) => fingerprintOf(bytesReader(readFileOrExplain(file))));
    return { layout: 'llamagen', numRows: this.numRows, shape: this.header.shape, fingerprints };
  }

  protected read(image: number, picture: number, into: Int32Array, at: number): number {
    const path = this.file('codes', image);
    const bytes = readFileOrExplain(path);
    const dataOffset = this.dataOffset(bytes, path);
    const dtype = this.header.dtype as IntegerType;
    const pictureBytes = this.seqLen * integerBytes(dtype);
    const start = dataOffset + picture * pictureBytes;
    readIntegers(bytes.subarray(start, start + pictureBytes), dtype, this.seqLen, into, at);
    return this.label(image);
  }

  private label(image: number): number {
    const path = this.file('labels', image);
    const bytes = readFileOrExplain(path);
    const { dtype, shape, dataOffset, bigEndian } = readNpyHeader(bytesReader(bytes, path));
    if (!isIntegerType(dtype) || bigEndian || shape.reduce((product, side) => product * side, 1) !== 1) {
      throw new DataError('TOKENS_BROKEN', `${path}: expected one whole number, got ${dtype} (${shape}).`);
    }
    const one = new Int32Array(1);
    readIntegers(bytes.subarray(dataOffset), dtype, 1, one, 0);
    return one[0]!;
  }

  /** Headers are the first file's, byte for byte, but where another program wrote them. */
  private dataOffset(bytes: Uint8Array, path: string): number {
    const { length } = this.headerBytes;
    if (bytes.length === this.fileBytes && Buffer.compare(bytes.subarray(0, length), this.headerBytes) === 0)
      return length;
    const header = readNpyHeader(bytesReader(bytes, path));
    const layout = ({ dtype, shape, fortranOrder, bigEndian }: NpyHeader): string =>
      `${bigEndian ? 'big-endian ' : ''}${dtype} (${shape})${fortranOrder ? ' in Fortran order' : ''}`;
    if (layout(header) === layout(this.header)) return header.dataOffset;
    throw new DataError(
      'TOKENS_BROKEN',
      `${path}: expected ${layout(this.header)} like the first file, got ${layout(header)}.`,
    );
  }

  /** The length of the stretch at the end that equals the beginning, file by file, codes and labels. */
  private tailOf(numFiles: number): number {
    const bytes = (image: number): Buffer =>
      Buffer.concat([
        readFileOrExplain(this.file('codes', image)),
        Buffer.from(Int32Array.of(this.label(image)).buffer),
      ]);
    const first = bytes(0);
    for (let length = Math.min(LONGEST_TAIL, Math.floor(numFiles / 2)); length > 0; length--) {
      const start = numFiles - length;
      if (!bytes(start).equals(first)) continue;
      let same = 1;
      while (same < length && bytes(start + same).equals(bytes(same))) same++;
      if (same === length) return length;
    }
    return 0;
  }

  private file(kind: 'codes' | 'labels', image: number): string {
    return join(this.path, `imagenet${this.imageSize}_${kind}`, `${image}.npy`);
  }

  dispose(): void {}
}

/** Our note beside an extraction. */
export function treeSidecar(path: string, imageSize: number): string {
  return join(path, `imagenet${imageSize}_tokens.json`);
}

/** Sizes S of the extractions in a folder, ascending. */
export function treeSizes(path: string): number[] {
  const names = existsSync(path) ? readdirSync(path) : [];
  return names
    .flatMap((name) => /^imagenet(\d+)_codes$/.exec(name)?.[1] ?? [])
    .map(Number)
    .sort((a, b) => a - b);
}

/** Smallest n for which `exists(n)` is false, when it is true below. */
function countFiles(exists: (i: number) => boolean): number {
  let low = 0;
  let high = 1;
  while (exists(high)) [low, high] = [high, high * 2];
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2);
    if (exists(middle)) low = middle;
    else high = middle;
  }
  return high;
}

function readFileOrExplain(path: string): Uint8Array {
  try {
    const bytes = readFileSync(path);
    return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  } catch (cause) {
    throw new DataError('TOKENS_BROKEN', `${path} cannot be read: the tree of tokens has a hole.`, { cause });
  }
}

export class LlamaGenWriter implements TokenWriter {
  private readonly path: string;
  private readonly what: TokensToWrite;
  private readonly imageSize: number;
  private readonly folders: { temporary: string; final: string }[];
  private written = 0;

  constructor(path: string, what: TokensToWrite) {
    const { imageSize } = what;
    if (imageSize === undefined) {
      throw new DataError(
        'TOKENS_SIZE',
        `${path}: folders of a tree are named by the size of the pictures, which is not known.`,
      );
    }
    this.path = path;
    this.what = what;
    this.imageSize = imageSize;
    this.folders = ['codes', 'labels'].map((kind) => {
      const final = join(path, `imagenet${imageSize}_${kind}`);
      const temporary = `${final}.writing`;
      rmSync(temporary, { recursive: true, force: true });
      mkdirSync(temporary, { recursive: true });
      return { temporary, final };
    });
  }

  add(label: number, tokens: ArrayLike<number>): void {
    const { picturesPerImage, gridSize } = this.what;
    const name = `${this.written++}.npy`;
    const data = BigInt64Array.from(tokens as ArrayLike<never>, BigInt);
    const shape = [1, picturesPerImage, gridSize ** 2];
    writeFileSync(join(this.folders[0]!.temporary, name), encodeNpy({ dtype: 'int64', shape, data }));
    const labels = BigInt64Array.of(BigInt(label));
    writeFileSync(join(this.folders[1]!.temporary, name), encodeNpy({ dtype: 'int64', shape: [1], data: labels }));
  }

  finish(): void {
    if (this.written !== this.what.numImages) {
      throw new DataError(
        'TOKENS_BROKEN',
        `${this.path}: expected ${this.what.numImages} images, got ${this.written}.`,
      );
    }
    writeSidecar(treeSidecar(this.path, this.imageSize), this.what);
    // The codes last: with them the tree counts as whole.
    for (const { temporary, final } of this.folders.toReversed()) {
      rmSync(final, { recursive: true, force: true });
      renameSync(temporary, final);
    }
  }

  dispose(): void {
    for (const { temporary } of this.folders) rmSync(temporary, { recursive: true, force: true });
  }
}
