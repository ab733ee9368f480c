// Memory at scale, on a small GPT whose weights are what takes the memory: every rank keeps a piece of every weight. The other
// ways and families are in test/slow/sharded-training.test.ts.

import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, test } from 'vitest';
import { expectMemoryOfPieces, WIDE_GPT } from './distributed/expect-memory.ts';
import { expectClose, expectSameTensors, metricsOf } from './distributed/expect-same-training.ts';
import { killAll, trainOn } from './distributed/run-ranks.ts';

afterEach(killAll);

test('a GPT in pieces on two ranks trains the same in less memory', { timeout: 120_000 }, async () => {
  const folder = mkdtempSync(join(tmpdir(), 'tessera pieces '));
  const settings = { ...WIDE_GPT, totalSteps: 5, memory: true, recompute: true };
  try {
    const [[alone], ranks] = await Promise.all([
      trainOn('gpt', join(folder, 'alone'), 1, settings),
      trainOn('gpt', join(folder, 'pieces'), 2, { ...settings, shardParameters: true }),
    ]);
    expectClose(metricsOf(join(folder, 'pieces')), metricsOf(join(folder, 'alone')));
    const [last] = readdirSync(join(folder, 'alone/checkpoints')).toReversed();
    expectSameTensors(join(folder, 'pieces/checkpoints', last!), join(folder, 'alone/checkpoints', last!));
    expectMemoryOfPieces(alone!, ranks, join(folder, 'alone/checkpoints', last!));
  } finally {
    rmSync(folder, { recursive: true });
  }
});
