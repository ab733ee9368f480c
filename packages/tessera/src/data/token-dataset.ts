/**
 * A token data set on disk: images as rows of VQ tokens with their labels.
 *
 *   dataset.json              sizes, classes, and each shard's file, rows, bytes and SHA-256
 *   tokens-00000.safetensors  `tokens` [rows, L] and `labels` [rows], in the smallest integer type that fits
 *
 * Shards are memory-mapped: opening costs nothing by the number of rows. The description is written last, so a data
 * set is whole or absent. Checksums are made when writing and compared only on demand, they would read every byte.
 */

import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { parseConfig, strictConfig } from '@tessera/schedule';
import { cat, type DType, keep, loadSafetensors, saveSafetensors, scope, type Tensor, tensor } from '@tessera/torch';
import { z } from 'zod';
import { DataError } from './data-error.ts';

const DESCRIPTION = 'dataset.json';
const FORMAT_VERSION = 1;

const descriptionSchema = strictConfig({
  formatVersion: z.literal(FORMAT_VERSION),
  kind: z.literal('tokens'),
  numRows: z.int().min(0),
  /** L = gridSize². */
  gridSize: z.int().min(1).max(4096),
  codebookSize: z
    .int()
    .min(2)
    .max(1 << 30),
  /** Class names by label. */
  classes: z.array(z.string()).min(1),
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

/** Rows of tokens that training reads; a data set on disk, or a part of one. */
export interface TokenRows {
  readonly numRows: number;
  readonly seqLen: number;
  readonly codebookSize: number;
  readonly classes: readonly string[];
  /** tokens — [B, L] int64; labels — [B] int64; in the caller's scope. */
  rows(indices: readonly number[]): { tokens: Tensor; labels: Tensor };
}

export class TokenDataset implements TokenRows {
  readonly path: string;
  readonly description: TokenDatasetDescription;
  private readonly shards: { tokens: Tensor; labels: Tensor; firstRow: number }[] = [];

  private constructor(path: string, description: TokenDatasetDescription) {
    this.path = path;
    this.description = description;
  }

  static open(path: string): TokenDataset {
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
    const dataset = new TokenDataset(path, parseConfig(descriptionSchema, json, file));
    dataset.mapShards();
    return dataset;
  }

  get numRows(): number {
    return this.description.numRows;
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

  rows(indices: readonly number[]): { tokens: Tensor; labels: Tensor } {
    const byShard = this.shards.map(() => ({ rows: [] as number[], at: [] as number[] }));
    indices.forEach((index, at) => {
      const shard = this.shards.findLastIndex(({ firstRow }) => firstRow <= index);
      if (shard < 0 || index >= this.numRows) {
        throw new DataError('TOKENS_RANGE', `Expected rows below ${this.numRows}, got ${index}.`);
      }
      byShard[shard]!.rows.push(index - this.shards[shard]!.firstRow);
      byShard[shard]!.at.push(at);
    });
    const used = byShard.map((part, i) => ({ ...part, shard: this.shards[i]! })).filter(({ rows }) => rows.length > 0);
    const pick = (name: 'tokens' | 'labels'): Tensor =>
      cat(used.map(({ rows, shard }) => shard[name].indexSelect(0, tensor(rows, 'int64')))).to('int64');
    const inOrder = tensor(
      used.flatMap(({ at }) => at),
      'int64',
    ).argsort();
    return { tokens: pick('tokens').indexSelect(0, inOrder), labels: pick('labels').indexSelect(0, inOrder) };
  }

  /** Reads every byte and compares checksums, and every token and label with its range. */
  verify(): void {
    for (const [i, shard] of this.description.shards.entries()) {
      const path = join(this.path, shard.file);
      if (createHash('sha256').update(readFileSync(path)).digest('hex') !== shard.sha256) {
        throw new DataError('TOKENS_BROKEN', `${path} differs from its checksum: make the data set again.`);
      }
      const { tokens, labels } = this.shards[i]!;
      checkRange(tokens, this.codebookSize, `${path}: tokens`);
      checkRange(labels, this.classes.length, `${path}: labels`);
    }
  }

  dispose(): void {
    for (const { tokens, labels } of this.shards) {
      tokens.dispose();
      labels.dispose();
    }
  }

  private mapShards(): void {
    let firstRow = 0;
    for (const { file, rows, bytes } of this.description.shards) {
      const path = join(this.path, file);
      if (!existsSync(path) || statSync(path).size !== bytes) {
        throw new DataError('TOKENS_BROKEN', `${path} is missing or not ${bytes} bytes long: make the data set again.`);
      }
      const mapped = scope(() => {
        const { tensors } = loadSafetensors(path);
        const tokens = tensors.get('tokens');
        const labels = tensors.get('labels');
        if (`${tokens?.shape}` !== `${[rows, this.seqLen]}` || `${labels?.shape}` !== `${[rows]}`) {
          throw new DataError(
            'TOKENS_BROKEN',
            `${path} does not hold tokens [${rows}, ${this.seqLen}] and their labels.`,
          );
        }
        return { tokens: keep(tokens!), labels: keep(labels!) };
      });
      this.shards.push({ ...mapped, firstRow });
      firstRow += rows;
    }
    if (firstRow !== this.numRows) {
      throw new DataError('TOKENS_BROKEN', `${this.path}: ${this.numRows} rows promised, ${firstRow} in the shards.`);
    }
  }
}

/** The smallest signed or byte type that holds 0..count-1 and that every tensor operation knows. */
export function smallestIntegerType(count: number): DType {
  if (count <= 256) return 'uint8';
  if (count <= 32768) return 'int16';
  return 'int32';
}

/** Writes a data set, shard by shard; nothing is at `path` until finish(). */
export class TokenDatasetWriter {
  private readonly path: string;
  private readonly temporary: string;
  private readonly description: TokenDatasetDescription;

  constructor(path: string, options: { gridSize: number; codebookSize: number; classes: readonly string[] }) {
    this.path = path;
    this.temporary = `${path}.writing`;
    this.description = {
      formatVersion: FORMAT_VERSION,
      kind: 'tokens',
      numRows: 0,
      gridSize: options.gridSize,
      codebookSize: options.codebookSize,
      classes: [...options.classes],
      shards: [],
    };
    rmSync(this.temporary, { recursive: true, force: true });
    mkdirSync(this.temporary, { recursive: true });
  }

  /** tokens — [N, L] int64; labels — [N] int64. One call makes one shard. */
  addShard(tokens: Tensor, labels: Tensor): void {
    const { codebookSize, classes, shards } = this.description;
    checkRange(tokens, codebookSize, 'tokens');
    checkRange(labels, classes.length, 'labels');
    const file = `tokens-${String(shards.length).padStart(5, '0')}.safetensors`;
    const path = join(this.temporary, file);
    scope(() =>
      saveSafetensors(path, [
        ['tokens', tokens.to(smallestIntegerType(codebookSize))],
        ['labels', labels.to(smallestIntegerType(classes.length))],
      ]),
    );
    const bytes = readFileSync(path);
    const sha256 = createHash('sha256').update(bytes).digest('hex');
    shards.push({ file, rows: tokens.size(0), bytes: bytes.length, sha256 });
    this.description.numRows += tokens.size(0);
  }

  finish(): void {
    writeFileSync(join(this.temporary, DESCRIPTION), `${JSON.stringify(this.description, undefined, 2)}\n`);
    rmSync(this.path, { recursive: true, force: true });
    renameSync(this.temporary, this.path);
  }
}

function checkRange(values: Tensor, count: number, what: string): void {
  if (values.numel === 0) return;
  const [low, high] = scope(() => [values.amin().item(), values.amax().item()]);
  if (low! < 0 || high! >= count) {
    throw new DataError('TOKENS_RANGE', `${what}: expected values in 0..${count - 1}, got ${low}..${high}.`);
  }
}
