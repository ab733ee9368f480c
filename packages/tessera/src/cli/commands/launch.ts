/** `tessera launch`: a command as the ranks of a distributed run. */

import { strictConfig } from '@tessera/schedule';
import { z } from 'zod';
import { launch } from '../../pipelines/launch.ts';
import { realNumber, text, wholeNumber } from '../argument-values.ts';
import { CliError } from '../cli-error.ts';
import { defineCommand } from '../command.ts';

/** Commands that know what to do as one of several processes. */
export const SHARING = ['train', 'train-tokenizer', 'tokenize', 'sample', 'evaluate', 'stats', 'search'];
/** Ours that would all do the same; there may be other programs of these names. */
export const SINGLE = 'convert demo edit export fetch fit import inspect launch search-training setup'.split(' ');

export const launchCommand = defineCommand({
  name: 'launch',
  summary: 'run a command as several processes, on one machine or many',
  details:
    'Starts N processes that work as one: training, tokenizing and sampling for evaluation share their work by rank. The ' +
    'processes get the variables that torchrun sets; torchrun --no-python, srun and Kubernetes jobs do as well ' +
    '(docs/distributed.md). When a rank fails, all are ended and, up to --max-restarts times, started again; training goes ' +
    'on from its last checkpoint. Lines of output begin with the rank; what rank 0 writes to stdout is passed on as it is. ' +
    'Ctrl-C and SIGTERM go on to the ranks, which finish their step and save.',
  resumable: true,
  rest: 'COMMAND …',
  args: {
    'nproc-per-node': { type: 'string', required: true, valueHint: 'N', description: 'processes of this machine' },
    nnodes: { type: 'string', valueHint: 'M', description: 'machines (default 1)' },
    'node-rank': { type: 'string', valueHint: 'R', description: 'which of them this is, from 0 (default 0)' },
    rdzv: { type: 'string', valueHint: 'HOST:PORT', description: 'where the machines meet: at the first one' },
    'max-restarts': { type: 'string', valueHint: 'K', description: 'starts after a failure (default 0)' },
    timeout: { type: 'string', valueHint: 'S', description: 'seconds that ranks wait for one another (default 600)' },
    'rdzv-timeout': { type: 'string', valueHint: 'S', description: 'seconds that machines wait (default 600)' },
    grace: { type: 'string', valueHint: 'S', description: 'seconds from SIGTERM to the end by force (default 30)' },
  },
  examples: [
    {
      command:
        'launch --nproc-per-node 8 --max-restarts 3 -- train --model enat-l --data tokens/train --out runs/enat-l',
      what: 'training on the eight GPUs of a machine',
    },
    {
      command:
        'launch --nproc-per-node 8 --nnodes 2 --node-rank 1 --rdzv node0:29500 -- train --model gpt-3b --data codes --out runs/gpt-3b',
      what: 'the second of two machines',
    },
    {
      command: 'launch --nproc-per-node 4 -- tokenize imagenet/train --tokenizer llamagen-vq16 --out tokens/train',
      what: 'four processes share the images',
    },
  ],
  schema: strictConfig({
    nprocPerNode: wholeNumber(1, 1024),
    nnodes: wholeNumber(1, 65536).optional(),
    nodeRank: wholeNumber(0, 65535).optional(),
    rdzv: text('HOST:PORT').optional(),
    maxRestarts: wholeNumber(0, 1_000_000).optional(),
    timeout: realNumber(0.1, 1e6).optional(),
    rdzvTimeout: realNumber(0.1, 1e6).optional(),
    grace: realNumber(0, 1e6).optional(),
    rest: z.array(z.string()).min(1, 'expected "-- COMMAND …" at the end'),
  }),
  run: ({ rest, ...options }, { signal }) => launch({ ...options, command: commandOf(rest), output: passOn, signal }),
});

function commandOf(rest: readonly string[]): readonly string[] {
  const name = rest[0]!;
  if (SHARING.includes(name)) return [process.execPath, process.argv[1]!, ...rest];
  if (!SINGLE.includes(name)) return rest;
  throw new CliError(
    'ARGUMENT',
    `"tessera ${name}" is one process; ${SHARING.join(', ')} share their work. Another program of that name goes by its path.`,
  );
}

function passOn(rank: number, stream: 'stdout' | 'stderr', line: string): void {
  const isAnswer = rank === 0 && stream === 'stdout';
  process[stream].write(isAnswer ? `${line}\n` : `[${rank}] ${line}\n`);
}
