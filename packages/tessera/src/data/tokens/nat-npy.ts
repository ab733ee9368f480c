/**
 * The layout of AutoNAT and ENAT (reference §1.1): one `{split}.npy`, int64 [rows, 1 + L], the class id first. Rows with
 * mirror images go by batches of 128 images: all of a batch, then the mirror image of each.
 *
 * Read row by row where it lies, so 5 GB cost no memory; the batches of other programs are rows like any other. Written
 * as a stream under a temporary name.
 */
import { closeSync, existsSync, openSync, renameSync, rmSync, writeSync } from 'node:fs';
import { encodeNpyHeader, type NpyHeader, readNpyHeader } from '@tessera/formats';
import { type FileByteReader, openFile } from '@tessera/formats/node';
import { DataError } from '../data-error.ts';
import { fingerprintOf } from './fingerprint.ts';
import { type IntegerType, integerBytes, isIntegerType, readIntegers, writeIntegers } from './integers.ts';
import { type AssumedTokens, codesAndClasses, writeSidecar } from './sidecar.ts';
import { gridSideOf, StoredTokens, type TokensToWrite, type TokenWriter } from './token-rows.ts';

/** Images of a batch of the originals' extraction: all of one, then its mirror images. */
export const NAT_BATCH = 128;
/** MaskGIT's tokenizer. */
const NAT_CODEBOOK = 1024;

export interface NatNpyOptions extends AssumedTokens {
  /** Takes an image and its mirror image, which are rows apart, for one sample; otherwise each row is one. */
  together?: boolean | undefined;
  /** Pictures of each image, where no note of ours says it: 2 with mirror images. */
  storedPictures?: number | undefined;
}

export class NatNpyTokens extends StoredTokens {
  readonly path: string;
  readonly numRows: number;
  readonly picturesPerImage: number;
  readonly seqLen: number;
  readonly codebookSize: number;
  readonly classes: readonly string[];
  readonly imageSize: number | undefined;
  private readonly file: FileByteReader;
  private readonly header: NpyHeader;
  private readonly dtype: IntegerType;
  private readonly row: Int32Array;

  private constructor(path: string, file: FileByteReader, header: NpyHeader, assumed: NatNpyOptions) {
    super();
    const [rows, columns] = header.shape;
    this.path = path;
    this.file = file;
    this.header = header;
    this.dtype = header.dtype as IntegerType;
    this.seqLen = columns! - 1;
    this.row = new Int32Array(columns!);
    const { codebookSize, classes, sidecar } = codesAndClasses(`${path}.json`, assumed, NAT_CODEBOOK);
    this.codebookSize = codebookSize;
    this.classes = classes;
    this.imageSize = sidecar?.imageSize;
    const stored = sidecar?.picturesPerImage ?? assumed.storedPictures ?? 1;
    this.picturesPerImage = assumed.together === true ? stored : 1;
    if (rows! % this.picturesPerImage !== 0) {
      throw new DataError('TOKENS_BROKEN', `${path}: ${rows} rows are not ${this.picturesPerImage} pictures an image.`);
    }
    this.numRows = rows! / this.picturesPerImage;
  }

  static open(path: string, assumed: NatNpyOptions = {}): NatNpyTokens {
    const file = openFile(path);
    try {
      const header = readNpyHeader(file);
      const { dtype, shape, fortranOrder, bigEndian } = header;
      if (!isIntegerType(dtype) || fortranOrder || bigEndian || shape.length !== 2 || shape[1]! < 2 || shape[0]! < 1) {
        throw new DataError(
          'TOKENS_BROKEN',
          `${path}: expected whole numbers [rows, 1 + L], a row an image, the class first, got ${dtype} (${shape}).`,
        );
      }
      gridSideOf(shape[1]! - 1, path);
      return new NatNpyTokens(path, file, header, assumed).probe();
    } catch (error) {
      file.close();
      throw error;
    }
  }

  get byteLength(): number {
    return this.file.byteLength;
  }

  get identity(): unknown {
    return { layout: 'nat-npy', shape: this.header.shape, fingerprint: fingerprintOf(this.file) };
  }

  protected read(image: number, picture: number, into: Int32Array, at: number): number {
    const columns = this.seqLen + 1;
    const bytes = columns * integerBytes(this.dtype);
    const row = natRow(image, picture, this.picturesPerImage, this.numRows);
    readIntegers(this.file.read(this.header.dataOffset + row * bytes, bytes), this.dtype, columns, this.row, 0);
    into.set(this.row.subarray(1), at);
    return this.row[0]!;
  }

  dispose(): void {
    this.file.close();
  }
}

/** Where picture `picture` of an image lies among the rows of a file of `numImages` images. */
export function natRow(image: number, picture: number, picturesPerImage: number, numImages: number): number {
  const batchStart = image - (image % NAT_BATCH);
  const batch = Math.min(NAT_BATCH, numImages - batchStart);
  return batchStart * picturesPerImage + picture * batch + (image - batchStart);
}

export class NatNpyWriter implements TokenWriter {
  private readonly path: string;
  private readonly temporary: string;
  private readonly what: TokensToWrite;
  private readonly descriptor: number;
  /** The pictures of the batch that is being filled, [picture][image]. */
  private pending: { label: number; pictures: Int32Array[] }[] = [];
  private written = 0;
  private isOpen = true;

  constructor(path: string, what: TokensToWrite) {
    this.path = path;
    this.what = what;
    this.temporary = `${path}.writing`;
    this.descriptor = openSync(this.temporary, 'w');
    const shape = [what.numImages * what.picturesPerImage, 1 + what.gridSize ** 2];
    writeAll(this.descriptor, encodeNpyHeader('int64', shape));
  }

  add(label: number, tokens: ArrayLike<number>): void {
    const { picturesPerImage, gridSize } = this.what;
    const all = Int32Array.from(tokens);
    const length = gridSize ** 2;
    const pictures = Array.from({ length: picturesPerImage }, (_, p) => all.subarray(p * length, (p + 1) * length));
    this.pending.push({ label, pictures });
    if (this.pending.length === NAT_BATCH) this.flush();
  }

  finish(): void {
    this.flush();
    this.close();
    const { numImages } = this.what;
    if (this.written !== numImages) {
      throw new DataError('TOKENS_BROKEN', `${this.path}: expected ${numImages} images, got ${this.written}.`);
    }
    const note = `${this.path}.json`;
    writeSidecar(`${note}.writing`, this.what);
    if (existsSync(this.path)) rmSync(this.path);
    renameSync(`${note}.writing`, note);
    renameSync(this.temporary, this.path);
  }

  dispose(): void {
    this.close();
    rmSync(this.temporary, { force: true });
  }

  private close(): void {
    if (this.isOpen) closeSync(this.descriptor);
    this.isOpen = false;
  }

  private flush(): void {
    const { picturesPerImage, gridSize } = this.what;
    const columns = 1 + gridSize ** 2;
    const bytes = new Uint8Array(this.pending.length * picturesPerImage * columns * 8);
    let at = 0;
    for (let p = 0; p < picturesPerImage; p++) {
      for (const { label, pictures } of this.pending) {
        writeIntegers([label], 'int64', bytes, at);
        writeIntegers(pictures[p]!, 'int64', bytes, at + 8);
        at += columns * 8;
      }
    }
    writeAll(this.descriptor, bytes);
    this.written += this.pending.length;
    this.pending = [];
  }
}

function writeAll(descriptor: number, bytes: Uint8Array): void {
  for (let done = 0; done < bytes.length; ) done += writeSync(descriptor, bytes, done);
}
