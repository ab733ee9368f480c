/**
 * Tokens from an ENAT checkpoint alone, without a tokenizer or a model folder: for parity with other implementations,
 * and for decoding elsewhere. Writes int64 [N, L] as npy.
 */

import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { encodeNpy } from '@tessera/formats';
import { scope } from '@tessera/torch';
import { Enat, type EnatConfig } from '../models/enat.ts';
import { type GivenEnatFields, inferEnatConfig } from '../models/infer-config.ts';
import { type EnatPreset, enatPreset } from '../models/presets.ts';
import { loadModule } from '../nn/state-dict.ts';
import { chooseStrategy, type StrategyChoice } from './choose-strategy.ts';
import { planImages } from './class-choice.ts';
import type { PipelineEvent } from './events.ts';
import { generateImages } from './generate-images.ts';
import { loadWeights } from './load-weights.ts';

export interface SampleTokensOptions extends StrategyChoice, GivenEnatFields {
  /** safetensors or PyTorch file with a bare state dict. */
  weights: string;
  /** npy file to write. */
  tokens: string;
  /** Gives what shapes do not tell, where the fields above do not. */
  preset?: EnatPreset | undefined;
  /** Labels; default: all. */
  classes?: readonly string[] | undefined;
  numImages?: number | undefined;
  perClass?: number | undefined;
  seed?: number | undefined;
  batch?: number | undefined;
  signal?: AbortSignal | undefined;
}

export async function* sampleTokens(options: SampleTokensOptions): AsyncGenerator<PipelineEvent> {
  const { seed = 0, tokens: path } = options;
  const strategy = chooseStrategy(options, undefined);
  const model = loadEnat(options);
  try {
    const { config } = model;
    const { labels } = planImages(options.classes ?? [], config.numClasses, undefined, options);
    yield { kind: 'note', message: describe(config, model.numParameters) };
    const message = `Sampling tokens of ${labels.length} images, ${strategy.numSteps} steps, seed ${seed}`;
    yield { kind: 'stage', stage: 'sample', message };
    const data = new BigInt64Array(labels.length * model.seqLen);
    yield* generateImages(model, { ...options, strategy, labels, seed }, ({ first, tokens }) => {
      const rows = tokens.toTypedArray() as BigInt64Array;
      data.set(rows, first * model.seqLen);
    });
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, encodeNpy({ dtype: 'int64', shape: [labels.length, model.seqLen], data }));
    yield { kind: 'file', path, what: `token ids, int64 [${labels.length}, ${model.seqLen}]` };
    const distinct = new Set(data).size;
    yield { kind: 'result', result: { tokens: path, config, labels, seed, strategy, distinctTokens: distinct } };
  } finally {
    model.dispose();
  }
}

function loadEnat(options: SampleTokensOptions): Enat {
  const { weights, preset, encoderDepth, decoderDepth, numHeads } = options;
  const known: GivenEnatFields = preset === undefined ? {} : enatPreset(preset);
  const split = encoderDepth !== undefined || decoderDepth !== undefined ? { encoderDepth, decoderDepth } : known;
  return scope(() => {
    const tensors = loadWeights(weights);
    const shapes = new Map([...tensors].map(([name, tensor]) => [name, tensor.shape]));
    const given = {
      encoderDepth: split.encoderDepth,
      decoderDepth: split.decoderDepth,
      numHeads: numHeads ?? known.numHeads,
    };
    const config = inferEnatConfig(shapes, given, weights);
    return loadModule((p) => new Enat(config, p), tensors, weights);
  });
}

function describe(config: EnatConfig, numParameters: number): string {
  const { gridSize, codebookSize, numClasses, embedDim, encoderDepth, decoderDepth, numHeads } = config;
  return (
    `ENAT with ${numParameters.toLocaleString('en-US')} parameters: ${encoderDepth} + ${decoderDepth} blocks, width ${embedDim}, ` +
    `${numHeads} heads; ${gridSize}×${gridSize} tokens of ${codebookSize} codes; ${numClasses} classes`
  );
}
