import { afterEach, test } from 'vitest';
import { expectSameTraining } from '../distributed/expect-same-training.ts';
import { killAll } from '../distributed/run-ranks.ts';

afterEach(killAll);

test.each(['enat', 'autonat', 'gpt', 'vq'])(
  '%s trains the same on one rank, two and four',
  {
    timeout: 600_000,
  },
  (family) => expectSameTraining(family, [2, 4]),
);
