import { test } from 'vitest';
import { expectSameFitAfterKills } from './kill/kill-fit.ts';

test('a fit killed twice ends in the same model', { timeout: 300_000 }, () => expectSameFitAfterKills(2, 1));
