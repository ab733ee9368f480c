import { noGrad, scope, tensor } from '@tessera/torch';
import { expect, it } from 'vitest';
import { meansOf, mergeIntervals } from './interval-metrics.ts';
import { Ranks } from './ranks.ts';
import { ShardStatistics } from './shard-statistics.ts';

/** Of a world of `size`, without the others. */
function rankOf(rank: number, size: number): Ranks {
  return new Ranks({ rank, size } as ConstructorParameters<typeof Ranks>[0]);
}

it('deals out shards: every one to one rank, by its number', () => {
  const dealt = [0, 1, 2].map((rank) => rankOf(rank, 3).shardsOf(8));
  expect(dealt).toEqual([
    [0, 3, 6],
    [1, 4, 7],
    [2, 5],
  ]);
  expect(new Ranks().shardsOf(3)).toEqual([0, 1, 2]);
});

it('refuses fewer shards than ranks', () => {
  expect(() => rankOf(0, 4).shardsOf(3)).toThrow(
    /Expected at least one shard a step for each of 4 ranks, got 3: .*--shard-size/,
  );
});

it('alone agrees with itself', async () => {
  const alone = new Ranks();
  expect([alone.isFirst, alone.sum([1, 2]), await alone.all('x')]).toEqual([true, [1, 2], ['x']]);
  expect(await alone.decide(() => 5)).toBe(5);
  await expect(alone.together(() => { throw new Error('no'); })).rejects.toThrow('no'); // biome-ignore format: one row
  await alone.requireSame('settings', 'a');
});

it('merges the intervals of ranks, those that another has not', () => {
  const merged = mergeIntervals([
    { loss: [2, 0, 3], items: [1, 4, 0] },
    { loss: [1, 0, 6], rare: [1, 0, Number.NaN] },
  ]);
  expect(merged).toEqual({ loss: [3, 0, 9], items: [1, 4, 0], rare: [1, 0, Number.NaN] });
  expect(meansOf(merged)).toEqual({ loss: 3, items: 4, rare: Number.NaN });
});

it('moves running statistics by the mean of what the shards would have done', () => {
  scope(() => {
    const [mean, count] = [tensor([1, 2]), tensor(5)];
    const statistics = new ShardStatistics([mean, count]);
    const starts = [3, 6].map((by) => {
      const start = mean.toNumbers();
      noGrad(() => {
        mean.add_(by);
        count.add_(1);
      });
      statistics.afterShard();
      return start;
    });
    statistics.finish(new Ranks(), 2);
    expect(starts).toEqual([
      [1, 2],
      [1, 2],
    ]);
    expect([mean.toNumbers(), count.item()]).toEqual([[5.5, 6.5], 6]);
  });
});
