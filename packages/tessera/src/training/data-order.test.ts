import { DrawPurpose, Draws } from '@tessera/schedule';
import { expect, test } from 'vitest';
import { itemAt, shardAt } from './data-order.ts';

const PLAN = { seed: 7, globalBatch: 12, shardSize: 4, numItems: 30 };

test('the shards of the steps together go through every epoch once', () => {
  const places: number[] = [];
  for (let step = 0; step < 5; step++) {
    for (let index = 0; index < 3; index++) places.push(...shardAt(PLAN, step, index).items);
  }
  const sorted = (items: number[]) => [...items].sort((a, b) => a - b);
  const all = Array.from({ length: 30 }, (_, i) => i);
  expect(sorted(places.slice(0, 30))).toEqual(all);
  expect(sorted(places.slice(30))).toEqual(all);
  expect(places.slice(0, 30)).not.toEqual(places.slice(30));
  expect(places[37]).toBe(itemAt(7, 37, 30));
});

test('how a batch is cut does not change which items it has', () => {
  const whole = shardAt({ ...PLAN, shardSize: 12 }, 3, 0).items;
  expect([0, 1, 2].flatMap((index) => shardAt(PLAN, 3, index).items)).toEqual(whole);
});

test('draws belong to seed, step and shard', () => {
  const shard = shardAt(PLAN, 3, 2);
  expect(shard.draws(DrawPurpose.MASK_RATIO).word()).toBe(new Draws(7, 3, 2, DrawPurpose.MASK_RATIO).word());
  expect(shard.dropoutSeed).toBe(new Draws(7, 3, 2, DrawPurpose.DROPOUT).word());
  expect(new Set([0, 1, 2].map((index) => shardAt(PLAN, 3, index).dropoutSeed)).size).toBe(3);
});

test('a data set smaller than a batch repeats', () => {
  const { items } = shardAt({ seed: 0, globalBatch: 7, shardSize: 7, numItems: 3 }, 0, 0);
  expect(new Set(items.slice(0, 3)).size).toBe(3);
  expect(new Set(items.slice(3, 6)).size).toBe(3);
});

test('a run that discards every other batch trains on the second of each two', () => {
  const plan = { seed: 3, globalBatch: 4, shardSize: 2, numItems: 11 };
  for (const step of [0, 1, 4]) {
    for (const index of [0, 1]) {
      const kept = shardAt({ ...plan, discardsBatches: true }, step, index);
      expect(kept.items).toEqual(shardAt(plan, 2 * step + 1, index).items);
      expect(kept.step).toBe(step);
    }
  }
});
