/** `tessera inspect`: what is in a file or folder, as a table. */

import { strictConfig } from '@tessera/schedule';
import { z } from 'zod';
import { modelPresetNames } from '../../models/presets.ts';
import { flagName } from '../../pipelines/flag-name.ts';
import type { Inspection } from '../../pipelines/inspect/inspection.ts';
import { inspect } from '../../pipelines/inspect.ts';
import { oneOf, realNumber, text, wholeNumber } from '../argument-values.ts';
import { CliError } from '../cli-error.ts';
import { defineCommand } from '../command.ts';
import { printInspection } from '../print-inspection.ts';

export const inspectCommand = defineCommand({
  name: 'inspect',
  summary: 'show what is in a file or folder',
  details:
    'Reads safetensors, npy, npz, ONNX and PyTorch files by their content and never executes any of it; model folders, run ' +
    'folders and token data sets. Of a model size: parameters, memory, multiply-accumulates of each step, and for a GPT of ' +
    'training on patches of tokens.',
  args: {
    path: { type: 'positional', required: false, description: 'file or folder' },
    model: { type: 'string', valueHint: 'PRESET', description: `a model size instead: ${modelPresetNames.join(', ')}` },
    'grid-size': {
      type: 'string',
      valueHint: 'N',
      description: 'with --model: tokens of a side, such as 24 at 384 px',
    },
    strategy: {
      type: 'string',
      valueHint: 'NAME|FILE',
      description: "with --model: whose cost to count (default: the model's)",
    },
    'num-steps': { type: 'string', valueHint: 'N', description: 'with --model: steps of that strategy' },
    'guidance-scale': { type: 'string', valueHint: 'S', description: 'with --model: its guidance' },
    'skip-guidance-below': { type: 'string', valueHint: 'E', description: 'with --model: as in tessera sample' },
    filter: { type: 'string', valueHint: 'TEXT', description: 'only names that hold this text' },
    images: { type: 'string', valueHint: 'N', description: 'of a token data set: decode N rows to one picture' },
    out: { type: 'string', valueHint: 'PNG', description: 'that picture (default: beside the data set)' },
    tokenizer: {
      type: 'string',
      valueHint: 'FOLDER',
      description: 'tokenizer or model folder that decodes them (default: the one beside the data set)',
    },
    verify: { type: 'boolean', description: 'of a token data set: compare checksums and ranges' },
  },
  examples: [
    {
      command: 'inspect --model enat-l --num-steps 12 --strategy enat',
      what: 'parameters, memory and cost of a model size',
    },
    { command: 'inspect --model gpt-xl', what: 'what next-patch prediction saves' },
    { command: 'inspect tokens/photos --verify', what: 'a token data set, every byte checked' },
    { command: 'inspect model.safetensors --filter blocks.0', what: 'the first block of a model' },
    { command: 'inspect checkpoint.pt --json', what: 'a PyTorch checkpoint, for a program' },
    { command: 'inspect runs/demo-001/tokens/train --images 64 --out rows.png', what: 'tokens, decoded' },
  ],
  schema: strictConfig({
    path: text('a file or folder').optional(),
    model: oneOf(modelPresetNames).optional(),
    gridSize: wholeNumber(1, 256).optional(),
    strategy: text('the name of a strategy or a file').optional(),
    numSteps: wholeNumber(1, 65536).optional(),
    guidanceScale: realNumber(-1000, 1000).optional(),
    skipGuidanceBelow: realNumber(0, 1e6).optional(),
    filter: text('a part of a name').optional(),
    images: wholeNumber(1, 100_000).optional(),
    out: text('a file').optional(),
    tokenizer: text('a folder').optional(),
    verify: z.boolean().optional(),
  }),
  run: (options) => {
    if ((options.path === undefined) === (options.model === undefined)) {
      throw new CliError('ARGUMENT', 'expected either a file or folder ("tessera inspect PATH") or --model PRESET.');
    }
    const about = (['gridSize', 'strategy', 'numSteps', 'guidanceScale', 'skipGuidanceBelow'] as const).find(
      (name) => options[name] !== undefined,
    );
    if (options.model === undefined && about !== undefined) {
      throw new CliError('ARGUMENT', `${flagName(about)} belongs to --model, which was not given.`);
    }
    if (options.images === undefined && (options.out !== undefined || options.tokenizer !== undefined)) {
      throw new CliError('ARGUMENT', '--out and --tokenizer belong to --images N, which was not given.');
    }
    return inspect(options);
  },
  print: (result) => printInspection(result as unknown as Inspection),
});
