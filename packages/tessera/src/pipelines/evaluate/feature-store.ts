/**
 * Features on disk, so that a killed evaluation goes on and several processes share one:
 *
 *   WORK/{key}/block-00000.safetensors   pool [n, D], and spatial [n, S] where the protocol asks for it
 *
 * The key is made of what decides the features (pictures, network, protocol), so features of something else are never
 * taken. A block is written under another name first: it is whole or absent. Process r of R makes the blocks r, r + R, …;
 * whoever finds them all reads them in order, so the result has the same bits for any number of processes and restarts.
 */

import { existsSync, mkdirSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { cat, keep, loadSafetensors, saveSafetensors, scope, type Tensor } from '@tessera/torch';
import {
  type FeatureStatistics,
  RunningStatistics,
  type StatisticsPrecision,
} from '../../metrics/feature-statistics.ts';
import { PipelineError, type PipelineEvent } from '../events.ts';
import type { EvaluationExtractor } from './extractor.ts';
import { type ImageSet, sha256 } from './image-set.ts';
import type { Protocol } from './protocols.ts';

/** Images of a block: what a kill loses at most. */
const BLOCK = 128;
/** Pictures that are in the network at the same time: 16 of 299 px are about 1 GB of activations. */
const BATCH = 16;

export class FeatureStore {
  readonly count: number;
  private readonly folder: string;

  constructor(work: string, images: ImageSet, extractor: EvaluationExtractor, protocol: Protocol) {
    const { name, input, rounding, sfid } = protocol;
    const identity = { images: images.fingerprint, count: images.count, extractor: extractor.sha256 };
    const key = sha256(JSON.stringify({ ...identity, input, rounding, sfid, batch: BATCH }));
    this.folder = join(work, `${name}-${images.kind}-${key.slice(0, 16)}`);
    this.count = images.count;
  }

  get isComplete(): boolean {
    return this.blocks().every((block) => existsSync(this.path(block)));
  }

  /** Makes the blocks of this process that are not there yet. */
  async *fill(
    images: ImageSet,
    extractor: EvaluationExtractor,
    { stage, rank, world, signal }: { stage: string; rank: number; world: number; signal?: AbortSignal | undefined },
  ): AsyncGenerator<PipelineEvent> {
    mkdirSync(this.folder, { recursive: true });
    const mine = this.blocks().filter((block) => block % world === rank);
    const total = mine.reduce((sum, block) => sum + this.sizeOf(block), 0);
    let done = 0;
    for (const block of mine) {
      if (!existsSync(this.path(block))) {
        const parts: { pool: Tensor; spatial?: Tensor }[] = [];
        try {
          for (let at = 0; at < this.sizeOf(block); at += BATCH) {
            signal?.throwIfAborted();
            const count = Math.min(BATCH, this.sizeOf(block) - at);
            const batch = await images.read(block * BLOCK + at, count);
            parts.push(scope(() => kept(extractor.run(batch))));
            batch.dispose();
            yield { kind: 'progress', stage, done: done + at + count, total, unit: 'images' };
            await new Promise((resolve) => setImmediate(resolve));
          }
          this.write(block, parts);
        } finally {
          for (const { pool, spatial } of parts) {
            pool.dispose();
            spatial?.dispose();
          }
        }
      }
      done += this.sizeOf(block);
      yield { kind: 'progress', stage, done, total, unit: 'images' };
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
    return scope(() =>
      cat(
        this.blocks().map((block) => this.read(block, 'pool')),
        0,
      ),
    );
  }

  private write(block: number, parts: readonly { pool: Tensor; spatial?: Tensor }[]): void {
    const path = this.path(block);
    const own = `${path}.${process.pid}`;
    scope(() => {
      const spatial = parts.flatMap((part) => part.spatial ?? []);
      const entries: [string, Tensor][] = [
        [
          'pool',
          cat(
            parts.map(({ pool }) => pool),
            0,
          ),
        ],
      ];
      if (spatial.length > 0) entries.push(['spatial', cat(spatial, 0)]);
      saveSafetensors(own, entries);
    });
    renameSync(own, path);
  }

  private read(block: number, what: 'pool' | 'spatial'): Tensor {
    const path = this.path(block);
    const found = loadSafetensors(path).tensors.get(what);
    if (found !== undefined && found.shape.length === 2 && found.size(0) === this.sizeOf(block)) return found;
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
