import { test } from 'vitest';
import { expectSameAfterKills } from '../kill/kill-toy.ts';

test.each([2, 3])('a training process killed ten times ends in the same bits (seed %i)', { timeout: 300_000 }, (seed) =>
  expectSameAfterKills(10, seed),
);
