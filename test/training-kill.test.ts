import { test } from 'vitest';
import { expectSameAfterKills } from './kill/kill-toy.ts';

test('a training process killed twice ends in the same bits', { timeout: 120_000 }, () => expectSameAfterKills(2, 1));
