import { afterEach, test } from 'vitest';
import { expectSameTraining } from './distributed/expect-same-training.ts';
import { killAll } from './distributed/run-ranks.ts';

afterEach(killAll);

test('ENAT trains the same on one rank and on two', { timeout: 120_000 }, () =>
  expectSameTraining('enat', [2], { resume: false }),
);
