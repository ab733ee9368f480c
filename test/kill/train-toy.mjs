// Trains the toy task in the run folder given, from wherever it is, and prints each step: what the kill tests kill.
// Usage: node train-toy.mjs FOLDER

import { setNumThreads } from '@tessera/torch';
import { resolveTrainingConfig } from '../../packages/tessera/dist/training/config.js';
import { trainLoop } from '../../packages/tessera/dist/training/loop.js';
import { openRun } from '../../packages/tessera/dist/training/run-folder.js';
import { ToyTask } from '../../packages/tessera/dist/training/toy-task.test-support.js';

// Tiny tensors gain nothing from more, and several of these run at a time.
setNumThreads(1);
const config = resolveTrainingConfig({
  seed: 11,
  globalBatch: 24,
  shardSize: 8,
  totalSteps: 120,
  learningRate: { kind: 'cosine', base: 0.01, warmupSteps: 10, totalSteps: 120 },
  weightDecay: 0.01,
  clip: 1,
  logEvery: 4,
  checkpointEvery: 5,
  evaluateEvery: 10,
});
const task = new ToyTask({ width: 32 });
const run = openRun(process.argv[2], { training: config });
for await (const event of trainLoop(task, config, run)) {
  if (event.kind === 'step') process.stdout.write(`${event.step}\n`);
}
run.close();
