// One training, on several numbers of ranks: the same items in the same order, the same losses, checkpoints that any number
// of ranks goes on from.

import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadSafetensors, scope } from '@tessera/torch';
import { wholeFile } from 'tessera';
import { expect } from 'vitest';
import { type Said, trainOn } from './run-ranks.ts';

/** Sums of float32 in another order, after 20 steps of training. */
const TOLERANCE = 1e-5;

export async function expectSameTraining(
  family: string,
  sizes: readonly number[],
  { settings = {}, resume = true }: { settings?: object; resume?: boolean } = {},
): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'tessera ranks '));
  try {
    const alone = await trainOn(family, join(folder, 'alone'), 1, settings);
    const [items, losses] = [itemsOf(alone), metricsOf(join(folder, 'alone'))];
    expect(items.length).toBe(20 * 4);
    expect(losses.filter((line) => line.kind === 'train')).toHaveLength(20);
    for (const size of sizes) {
      const path = join(folder, `${size}`);
      const said = await trainOn(family, path, size, settings);
      expect(itemsOf(said)).toEqual(items);
      for (const [rank, lines] of said.entries()) {
        const own = new Set(lines.flatMap(({ shard }) => (shard === undefined ? [] : [Number(shard) % size])));
        expect([...own]).toEqual([rank]);
      }
      expectClose(metricsOf(path), losses);
      expectSameTensors(join(path, 'checkpoints/step-0000020'), join(folder, 'alone/checkpoints/step-0000020'));
      if (!resume) continue;

      // Half on so many ranks, the rest alone; and the other way round.
      const [there, back] = [join(folder, `${size}-1`), join(folder, `1-${size}`)];
      await trainOn(family, there, size, { ...settings, stopAt: 10 });
      const resumed = await trainOn(family, there, 1, settings);
      expect(resumed[0]!.find(({ kind }) => kind === 'start')).toMatchObject({ step: 10, resumed: true });
      expectClose(metricsOf(there), losses);
      await trainOn(family, back, 1, { ...settings, stopAt: 10 });
      await trainOn(family, back, size, settings);
      expectClose(metricsOf(back), losses);
      expectSameTensors(join(back, 'checkpoints/step-0000020'), join(folder, 'alone/checkpoints/step-0000020'));
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** What was trained on, in order of step and shard. */
function itemsOf(ranks: readonly Said[][]): unknown[] {
  const shards = ranks.flat().filter((said) => said.shard !== undefined);
  return shards.sort((a, b) => Number(a.step) - Number(b.step) || Number(a.shard) - Number(b.shard));
}

export function metricsOf(run: string): Record<string, number | string>[] {
  const lines = readFileSync(join(run, 'metrics.jsonl'), 'utf8').trim().split('\n');
  return lines.map((line) => JSON.parse(line));
}

export function expectClose(got: Record<string, number | string>[], wanted: Record<string, number | string>[]): void {
  expect(got.map(({ step, kind }) => [step, kind])).toEqual(wanted.map(({ step, kind }) => [step, kind]));
  for (const [i, line] of wanted.entries()) {
    expect(Object.keys(got[i]!).sort()).toEqual(Object.keys(line).sort());
    for (const [name, value] of Object.entries(line)) {
      if (typeof value !== 'number' || !/loss$/i.test(name)) continue;
      const difference = Math.abs((got[i]![name] as number) / value - 1);
      expect(difference, `${name} of step ${line.step}`).toBeLessThan(TOLERANCE);
    }
  }
}

/**
 * Within a thousandth of each file's length as one vector. Not number by number: Adam moves a weight whose gradient is
 * next to nothing (a bias before a normalisation) by the sign of its last bits.
 */
export function expectSameTensors(got: string, wanted: string): void {
  const files = readdirSync(wanted).filter((name) => name.endsWith('.safetensors'));
  expect(files.length).toBeGreaterThanOrEqual(3);
  for (const file of files) {
    scope(() => {
      // Of what ranks have shares of there are only parts.
      const stem = file.replace('.safetensors', '');
      const [ours, theirs] = [got, wanted].map((folder) => loadSafetensors(wholeFile(folder, stem)).tensors);
      expect([...ours!.keys()].sort()).toEqual([...theirs!.keys()].sort());
      let [difference, length] = [0, 0];
      for (const [name, tensor] of theirs!) {
        const own = ours!.get(name)!.toNumbers();
        for (const [i, value] of tensor.toNumbers().entries()) {
          difference += (own[i]! - value) ** 2;
          length += value ** 2;
        }
      }
      expect(Math.sqrt(difference / length), file).toBeLessThan(1e-3);
    });
  }
}
