/**
 * Features on disk, so that a killed evaluation goes on and several processes share one:
 *
 *   WORK/{key}/block-00000.safetensors   pool [n, D], and spatial [n, S] where the protocol asks for it; columns of
 *                                        the pictures themselves, such as a reconstruction's tokens [n, L]
 *
 * The key is made of what decides the features (pictures, network, protocol), so features of something else are never
 * taken. A block is written under another name first: it is whole or absent. Processes share the blocks that are missing;
 * whoever finds them all reads them in order, so the result has the same bits for any number of processes and restarts.
 */

import { existsSync, mkdirSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { cat, empty, keep, loadSafetensors, saveSafetensors, scope, type Tensor } from '@tessera/torch';
import { temporaryOfMany } from '../../data/whole-folder.ts';
import {
  type FeatureStatistics,
  RunningStatistics,
  type StatisticsPrecision,
} from '../../metrics/feature-statistics.ts';
import { PipelineError, type PipelineEvent } from '../events.ts';
import type { EvaluationExtractor } from './extractor.ts';
import { type ImageSet, sha256 } from './image-set.ts';
import type { Processes } from './processes.ts';
import type { Protocol } from './protocols.ts';

/** Images of a block: what a kill loses at most. */
const BLOCK = 128;

/** Raised when blocks hold other columns than before. */
const FORMAT = 2;

/** By name, [n, …]. */
type Columns = Record<string, Tensor>;

export class FeatureStore {
  readonly count: number;
  /** SHA-256 of what decides the features. */
  readonly key: string;
  private readonly folder: string;
  private readonly batch: number;

  /** @param batch pictures at a time, which features depend on in their last bits; default: by extractor and pictures */
  constructor(work: string, images: ImageSet, extractor: EvaluationExtractor, protocol: Protocol, batch?: number) {
    const { name, input, rounding, sfid } = protocol;
    this.batch = Math.min(BLOCK, batch ?? Math.min(extractor.batch, images.batch ?? BLOCK));
    const identity = { images: images.fingerprint, count: images.count, extractor: extractor.sha256 };
    this.key = sha256(JSON.stringify({ format: FORMAT, ...identity, input, rounding, sfid, batch: this.batch }));
    this.folder = join(work, `${name}-${images.kind}-${this.key.slice(0, 16)}`);
    this.count = images.count;
  }

  get isComplete(): boolean {
    return this.blocks().every((block) => existsSync(this.path(block)));
  }

  /** Makes the blocks that are not there yet, among all processes. */
  async *fill(
    images: ImageSet,
    extractor: EvaluationExtractor,
    { stage, processes, signal }: { stage: string; processes: Processes; signal?: AbortSignal | undefined },
  ): AsyncGenerator<PipelineEvent> {
    mkdirSync(this.folder, { recursive: true });
    const missing = await processes.agree(this.blocks().filter((block) => !existsSync(this.path(block))));
    const mine = processes.shareOf(missing, this.blocks());
    const there = this.blocks().length - missing.length;
    const total = mine.reduce((sum, block) => sum + this.sizeOf(block), 0);
    if (there > 0 && mine.length > 0) {
      yield { kind: 'note', message: `${there} of ${this.blocks().length} blocks of features are there already` };
    }
    let done = 0;
    for (let round = 0; round < processes.roundsOf(missing, mine); round++) {
      const block = mine[round];
      if (block !== undefined && !existsSync(this.path(block))) {
        const parts: Columns[] = [];
        try {
          for (let at = 0; at < this.sizeOf(block); at += this.batch) {
            signal?.throwIfAborted();
            const count = Math.min(this.batch, this.sizeOf(block) - at);
            parts.push(await this.columnsOf(images, extractor, block * BLOCK + at, count));
            yield { kind: 'progress', stage, done: done + at + count, total, unit: 'images' };
            await new Promise((resolve) => setImmediate(resolve));
          }
          this.write(block, parts);
        } finally {
          for (const column of parts.flatMap((part) => Object.values(part))) column.dispose();
        }
      }
      if (block !== undefined) done += this.sizeOf(block);
      await processes.meet();
    }
    if (processes.areTogether && !this.isComplete) {
      throw new PipelineError(
        'FEATURES',
        `${this.folder}: blocks of other processes are not there: --out (or --features) must be a folder that all of them see.`,
      );
    }
  }

  private async columnsOf(
    images: ImageSet,
    extractor: EvaluationExtractor,
    first: number,
    count: number,
  ): Promise<Columns> {
    const { images: batch, columns } = await (images.readMeasured?.(first, count) ??
      images.read(first, count).then((read) => ({ images: read, columns: {} })));
    try {
      const { pool, spatial } = scope(() => kept(extractor.run(batch)));
      return { pool, ...(spatial === undefined ? {} : { spatial }), ...columns };
    } finally {
      batch.dispose();
    }
  }

  /** Statistics of all blocks, in their order; the caller's scope owns them. */
  statistics(what: 'pool' | 'spatial', dim: number, precision: StatisticsPrecision): FeatureStatistics {
    const running = new RunningStatistics(dim, precision);
    try {
      for (const block of this.blocks()) scope(() => running.add(this.read(block, what)));
      return running.result();
    } finally {
      running.dispose();
    }
  }

  /** All pool features, [N, D] float32, 8 KB an image under Inception; the caller's scope owns them. */
  pool(): Tensor {
    return this.column('pool');
  }

  /** Another column of all pictures, [N, …]; the caller's scope owns it. Blocks are copied one by one: at most one is there twice. */
  column(name: string): Tensor {
    return scope(() => {
      const [, ...shape] = this.read(0, name).shape;
      const all = empty([this.count, ...shape], { dtype: this.read(0, name).dtype });
      for (const block of this.blocks()) {
        scope(() => all.narrow(0, block * BLOCK, this.sizeOf(block)).copy_(this.read(block, name)));
      }
      return all;
    });
  }

  /** One row of a column, [1, …], where the pictures have that column. */
  row(name: string, index: number): Tensor | undefined {
    const block = Math.floor(index / BLOCK);
    const found = loadSafetensors(this.path(block)).tensors.get(name);
    return found?.narrow(0, index - block * BLOCK, 1);
  }

  private write(block: number, parts: readonly Columns[]): void {
    const path = this.path(block);
    const own = temporaryOfMany(path);
    scope(() => {
      const entries = Object.keys(parts[0]!).map((name): [string, Tensor] => [
        name,
        cat(
          parts.map((part) => part[name]!),
          0,
        ),
      ]);
      saveSafetensors(own, entries);
    });
    renameSync(own, path);
  }

  private read(block: number, what: string): Tensor {
    const path = this.path(block);
    const found = loadSafetensors(path).tensors.get(what);
    if (found !== undefined && found.shape.length >= 1 && found.size(0) === this.sizeOf(block)) return found;
    throw new PipelineError('FEATURES', `${path} holds other features than expected: remove it and run this again.`);
  }

  private blocks(): number[] {
    return Array.from({ length: Math.ceil(this.count / BLOCK) }, (_, i) => i);
  }

  private sizeOf(block: number): number {
    return Math.min(BLOCK, this.count - block * BLOCK);
  }

  private path(block: number): string {
    return join(this.folder, `block-${String(block).padStart(5, '0')}.safetensors`);
  }
}

function kept(features: { pool: Tensor; spatial?: Tensor }): { pool: Tensor; spatial?: Tensor } {
  keep(features.pool);
  if (features.spatial !== undefined) keep(features.spatial);
  return features;
}
