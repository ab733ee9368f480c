import { test } from 'vitest';
import { expectSameFitAfterKills } from '../kill/kill-fit.ts';

test('a fit killed ten times ends in the same model', { timeout: 600_000 }, () => expectSameFitAfterKills(10, 2));
