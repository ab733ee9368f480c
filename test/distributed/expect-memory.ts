// What the ranks of a training have in memory, against what follows from the sizes of its weights.

import { join } from 'node:path';
import { loadSafetensors, scope } from '@tessera/torch';
import { expect } from 'vitest';
import type { Said } from './run-ranks.ts';

/** Settings of a GPT whose weights are more than its activations; measurements, of larger batches, only at the end. */
export const WIDE_GPT = { network: { embedDim: 64, numHeads: 4, depth: 8 }, evaluateEvery: 1000 };

/** Bytes of live tensors between steps, and the most while an operation ended. */
interface Memory {
  live: number;
  peak: number;
}

export function memoryOf(said: readonly Said[]): Memory {
  return said.findLast(({ kind }) => kind === 'memory') as unknown as Memory;
}

function bytesOf(file: string): number {
  return scope(() => [...loadSafetensors(file).tensors.values()].reduce((sum, { numel }) => sum + 4 * numel, 0));
}

/** Bytes of weights in all, in the largest block, and in no block. */
function sizesOf(checkpoint: string): { all: number; block: number; outside: number } {
  return scope(() => {
    let [all, block, outside] = [0, 0, 0];
    for (const [name, { numel }] of loadSafetensors(join(checkpoint, 'model.safetensors')).tensors) {
      all += 4 * numel;
      if (name.startsWith('layers.0.')) block += 4 * numel;
      if (!name.startsWith('layers.')) outside += 4 * numel;
    }
    return { all, block, outside };
  });
}

/** Activations of a block for 4 samples of 17 positions, some 30 tensors of width 64; tables of angles, sums of metrics. */
const SMALL = 600_000;

/** Weights, average and two moments are pieces; whole are at most what is outside of blocks and a few blocks. */
export function expectMemoryOfPieces(alone: readonly Said[], ranks: readonly Said[][], checkpoint: string): void {
  const { all, block, outside } = sizesOf(checkpoint);
  const whole = memoryOf(alone);
  expect(whole.live).toBeGreaterThan(4 * all);
  for (const said of ranks) {
    const { live, peak } = memoryOf(said);
    expect(live).toBeLessThan((4 * all) / ranks.length + SMALL);
    // Gradients of the pieces; two blocks' weights, the gradients of one as they are and on their way.
    const bound = (5 * all) / ranks.length + 2 * outside + 4 * block + SMALL;
    process.stdout.write(
      `${ranks.length} ranks: peak ${peak} bytes of live tensors, at most ${Math.round(bound)}; alone ${whole.peak}\n`,
    );
    expect(peak).toBeLessThan(bound);
    expect(peak).toBeLessThan((ranks.length === 2 ? 0.6 : 0.4) * whole.peak);
  }
}

/** Weights and average are whole; of the moments each rank has its share. */
export function expectMemoryOfShares(whole: readonly Said[], ranks: readonly Said[][], checkpoint: string): void {
  const moments = bytesOf(join(checkpoint, 'optimizer.safetensors'));
  const saved = ranks.map((said) => memoryOf(whole).live - memoryOf(said).live);
  const share = 1 - 1 / ranks.length;
  process.stdout.write(`${ranks.length} ranks: of ${moments} bytes of moments ${saved.join(', ')} saved\n`);
  for (const bytes of saved) expect(bytes / moments).toBeGreaterThan(share - 0.15);
  // All moments are somewhere: the ranks together save all copies but one. Counters are a few bytes more.
  const together = saved.reduce((sum, bytes) => sum + bytes, 0) / moments;
  expect(together).toBeGreaterThan(ranks.length - 1 - 0.02);
  expect(together).toBeLessThan(ranks.length - 1 + 0.1);
}
