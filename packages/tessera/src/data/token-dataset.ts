/**
 * Our own layout of a token data set: images as rows of VQ tokens with their labels.
 *
 *   dataset.json              sizes, classes, and each shard's file, rows, bytes and SHA-256
 *   tokens-00000.safetensors  `tokens` [rows, L] and `labels` [rows], in the smallest integer type that fits
 *
 * A row is a picture; the pictures of an image (mirror image, crops) are rows one after the other, in one shard. Rows are
 * read where they lie: opening costs nothing by their number, and training holds none of them. The description is
 * written last, so a data set is whole or absent. Checksums are made when writing and compared only on demand, they would
 * read every byte.
 */

import { createHash } from 'node:crypto';
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import { readSafetensorsHeader, safetensorsChunks, type TensorEntry } from '@tessera/formats';
import { type FileByteReader, openFile, withFile } from '@tessera/formats/node';
import { parseConfig, strictConfig } from '@tessera/schedule';
import { z } from 'zod';
import { DataError } from './data-error.ts';
import {
  type IntegerType,
  integerBytes,
  isIntegerType,
  readIntegers,
  smallestIntegerType,
  writeIntegers,
} from './tokens/integers.ts';
import { StoredTokens, type TokenWriter } from './tokens/token-rows.ts';
import { moveIntoPlace, requireReplaceable, temporaryFor } from './whole-folder.ts';

export type { TokenRows } from './tokens/token-rows.ts';

const DESCRIPTION = 'dataset.json';
const FORMAT_VERSION = 1;

const descriptionSchema = strictConfig({
  formatVersion: z.literal(FORMAT_VERSION),
  kind: z.literal('tokens'),
  numRows: z.int().min(0),
  /** Rows of each image, one behind the other: its mirror image, its crops. */
  picturesPerImage: z.int().min(1).max(1000).default(1),
  /** L = gridSize². */
  gridSize: z.int().min(1).max(4096),
  codebookSize: z
    .int()
    .min(2)
    .max(1 << 30),
  /** Class names by label. */
  classes: z.array(z.string()).min(1),
  /** Pixels of a picture's side. */
  imageSize: z.int().min(1).optional(),
  /** Of the images, the tokenizer and the settings, where `tessera tokenize` made it. */
  madeFrom: z.string().optional(),
  shards: z.array(
    strictConfig({
      file: z.string().refine((file) => basename(file) === file, { message: 'expected a plain file name' }),
      rows: z.int().min(1),
      bytes: z.int().min(1),
      sha256: z.string().regex(/^[0-9a-f]{64}$/),
    }),
  ),
});

export type TokenDatasetDescription = z.output<typeof descriptionSchema>;

interface Shard {
  file: FileByteReader;
  firstImage: number;
  tokens: TensorEntry;
  labels: TensorEntry;
}

export class TokenDataset extends StoredTokens {
  readonly path: string;
  readonly description: TokenDatasetDescription;
  private readonly shards: Shard[] = [];
  private readonly label = new Int32Array(1);

  private constructor(path: string, description: TokenDatasetDescription) {
    super();
    this.path = path;
    this.description = description;
  }

  static open(path: string): TokenDataset {
    const dataset = new TokenDataset(path, readDescription(path));
    try {
      dataset.openShards();
    } catch (error) {
      dataset.dispose();
      throw error;
    }
    return dataset;
  }

  /** Images. */
  get numRows(): number {
    return this.description.numRows / this.picturesPerImage;
  }
  get picturesPerImage(): number {
    return this.description.picturesPerImage;
  }
  get seqLen(): number {
    return this.description.gridSize ** 2;
  }
  get codebookSize(): number {
    return this.description.codebookSize;
  }
  get classes(): readonly string[] {
    return this.description.classes;
  }
  get imageSize(): number | undefined {
    return this.description.imageSize;
  }
  get byteLength(): number {
    return this.description.shards.reduce((total, { bytes }) => total + bytes, 0);
  }
  get identity(): unknown {
    return this.description.shards;
  }

  /** Reads every byte and compares checksums, then every token and label with its range. Yields the images done. */
  override *verify(): Generator<number> {
    for (const { file, sha256 } of this.description.shards) {
      const path = join(this.path, file);
      if (withFile(path, sha256Of) !== sha256) {
        throw new DataError('TOKENS_BROKEN', `${path} differs from its checksum: make the data set again.`);
      }
    }
    yield* super.verify();
  }

  dispose(): void {
    for (const { file } of this.shards) file.close();
  }

  protected read(image: number, picture: number, into: Int32Array, at: number): number {
    const { file, firstImage, tokens, labels } = this.shardOf(image);
    const row = (image - firstImage) * this.picturesPerImage + picture;
    this.readRow(file, tokens, row, this.seqLen, into, at);
    this.readRow(file, labels, row, 1, this.label, 0);
    return this.label[0]!;
  }

  private readRow(
    file: FileByteReader,
    entry: TensorEntry,
    row: number,
    length: number,
    into: Int32Array,
    at: number,
  ): void {
    const dtype = entry.dtype as IntegerType;
    const bytes = length * integerBytes(dtype);
    readIntegers(file.read(entry.offset + row * bytes, bytes), dtype, length, into, at);
  }

  /** By halving: the shards are in order. */
  private shardOf(image: number): Shard {
    let low = 0;
    let high = this.shards.length;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (this.shards[middle]!.firstImage <= image) low = middle;
      else high = middle;
    }
    return this.shards[low]!;
  }

  private openShards(): void {
    let firstRow = 0;
    for (const { file, rows, bytes } of this.description.shards) {
      const path = join(this.path, file);
      if (!existsSync(path) || statSync(path).size !== bytes) {
        throw new DataError('TOKENS_BROKEN', `${path} is missing or not ${bytes} bytes long: make the data set again.`);
      }
      const reader = openFile(path);
      // First, so that dispose() closes it whatever comes.
      const shard = { file: reader, firstImage: firstRow / this.picturesPerImage } as Shard;
      this.shards.push(shard);
      const { tensors } = readSafetensorsHeader(reader);
      const tokens = tensors.get('tokens');
      const labels = tensors.get('labels');
      if (
        !isIntegerType(tokens?.dtype) ||
        !isIntegerType(labels?.dtype) ||
        `${tokens?.shape}` !== `${[rows, this.seqLen]}` ||
        `${labels?.shape}` !== `${[rows]}` ||
        rows % this.picturesPerImage !== 0
      ) {
        throw new DataError(
          'TOKENS_BROKEN',
          `${path} does not hold tokens [${rows}, ${this.seqLen}] and their labels.`,
        );
      }
      Object.assign(shard, { tokens, labels });
      firstRow += rows;
    }
    if (firstRow !== this.description.numRows) {
      const { numRows } = this.description;
      throw new DataError('TOKENS_BROKEN', `${this.path}: ${numRows} rows promised, ${firstRow} in the shards.`);
    }
  }
}

/** The description alone, checked. */
export function readDescription(path: string): TokenDatasetDescription {
  const file = join(path, DESCRIPTION);
  if (!existsSync(file)) {
    throw new DataError('TOKENS_MISSING', `${path} is no token data set: expected a ${DESCRIPTION} in it.`);
  }
  let json: unknown;
  try {
    json = JSON.parse(readFileSync(file, 'utf8'));
  } catch (error) {
    throw new DataError('TOKENS_BROKEN', `${file} is broken: ${(error as Error).message}`);
  }
  return parseConfig(descriptionSchema, json, file);
}

export interface TokenDatasetOptions {
  gridSize: number;
  codebookSize: number;
  classes: readonly string[];
  picturesPerImage?: number;
  imageSize?: number | undefined;
  madeFrom?: string | undefined;
  /** Of a shard, about. */
  shardBytes?: number;
}

const SHARD_BYTES = 64 << 20;

/** Writes a data set, shard by shard; nothing is at `path` until finish(). */
export class TokenDatasetWriter implements TokenWriter {
  private readonly path: string;
  private readonly temporary: string;
  private readonly description: TokenDatasetDescription;
  private readonly types: { tokens: IntegerType; labels: IntegerType };
  private readonly rowsPerShard: number;
  /** The rows of the shard that is being filled. */
  private tokens: Uint8Array;
  private labels: number[] = [];

  constructor(path: string, options: TokenDatasetOptions) {
    const {
      gridSize,
      codebookSize,
      classes,
      picturesPerImage = 1,
      imageSize,
      madeFrom,
      shardBytes = SHARD_BYTES,
    } = options;
    this.path = path;
    requireReplaceable(path, DESCRIPTION);
    this.temporary = temporaryFor(path);
    this.types = { tokens: smallestIntegerType(codebookSize), labels: smallestIntegerType(classes.length) };
    const imageBytes = gridSize ** 2 * integerBytes(this.types.tokens) * picturesPerImage;
    this.rowsPerShard = Math.max(1, Math.floor(shardBytes / imageBytes)) * picturesPerImage;
    // Grown as it fills: most data sets are smaller than a shard.
    this.tokens = new Uint8Array(imageBytes);
    this.description = {
      formatVersion: FORMAT_VERSION,
      kind: 'tokens',
      numRows: 0,
      picturesPerImage,
      gridSize,
      codebookSize,
      classes: [...classes],
      ...(imageSize === undefined ? {} : { imageSize }),
      ...(madeFrom === undefined ? {} : { madeFrom }),
      shards: [],
    };
    mkdirSync(this.temporary, { recursive: true });
  }

  add(label: number, tokens: ArrayLike<number>): void {
    const { codebookSize, classes, gridSize, picturesPerImage } = this.description;
    if (tokens.length !== picturesPerImage * gridSize ** 2) {
      throw new DataError(
        'TOKENS_RANGE',
        `Expected ${picturesPerImage}·${gridSize}² tokens for ${this.path}, got ${tokens.length}.`,
      );
    }
    for (let i = 0; i < tokens.length; i++) checkRange(tokens[i]!, codebookSize, 'tokens', this.path);
    checkRange(label, classes.length, 'labels', this.path);
    const bytes = tokens.length * integerBytes(this.types.tokens);
    const at = (this.labels.length / picturesPerImage) * bytes;
    if (at + bytes > this.tokens.length) {
      const grown = new Uint8Array(Math.max(at + bytes, Math.min(2 * this.tokens.length, SHARD_BYTES)));
      grown.set(this.tokens);
      this.tokens = grown;
    }
    writeIntegers(tokens, this.types.tokens, this.tokens, at);
    for (let p = 0; p < picturesPerImage; p++) this.labels.push(label);
    if (this.labels.length >= this.rowsPerShard) this.flush();
  }

  finish(): void {
    if (this.labels.length > 0) this.flush();
    writeFileSync(join(this.temporary, DESCRIPTION), `${JSON.stringify(this.description, undefined, 2)}\n`);
    moveIntoPlace(this.temporary, this.path);
  }

  /** Removes what was begun and not finished. */
  dispose(): void {
    rmSync(this.temporary, { recursive: true, force: true });
  }

  private flush(): void {
    const { shards, gridSize } = this.description;
    const rows = this.labels.length;
    const labels = new Uint8Array(rows * integerBytes(this.types.labels));
    writeIntegers(this.labels, this.types.labels, labels, 0);
    const tokens = this.tokens.subarray(0, rows * gridSize ** 2 * integerBytes(this.types.tokens));
    const file = `tokens-${String(shards.length).padStart(5, '0')}.safetensors`;
    const hash = createHash('sha256');
    let bytes = 0;
    const descriptor = openSync(join(this.temporary, file), 'w');
    try {
      const chunks = safetensorsChunks([
        ['tokens', { dtype: this.types.tokens, shape: [rows, gridSize ** 2], bytes: tokens }],
        ['labels', { dtype: this.types.labels, shape: [rows], bytes: labels }],
      ]);
      for (const chunk of chunks) {
        hash.update(chunk);
        for (let done = 0; done < chunk.length; ) done += writeSync(descriptor, chunk, done);
        bytes += chunk.length;
      }
    } finally {
      closeSync(descriptor);
    }
    shards.push({ file, rows, bytes, sha256: hash.digest('hex') });
    this.description.numRows += rows;
    this.labels = [];
  }
}

const HASH_BLOCK = 4 << 20;

function sha256Of(reader: FileByteReader): string {
  const hash = createHash('sha256');
  for (let at = 0; at < reader.byteLength; at += HASH_BLOCK) {
    hash.update(reader.read(at, Math.min(HASH_BLOCK, reader.byteLength - at)));
  }
  return hash.digest('hex');
}

function checkRange(value: number, count: number, what: string, where: string): void {
  if (Number.isInteger(value) && value >= 0 && value < count) return;
  throw new DataError('TOKENS_RANGE', `${where}: ${what}: expected values in 0..${count - 1}, got ${value}.`);
}
