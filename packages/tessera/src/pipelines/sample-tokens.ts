/**
 * Tokens from a checkpoint alone, without a tokenizer or a model folder: for parity with other implementations,
 * and for decoding elsewhere. Writes int64 [N, L] as npy.
 */

import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { encodeNpy } from '@tessera/formats';
import { classNamesOf } from '../data/imagenet-classes.ts';
import type { GeneratorConfig, GeneratorModel } from '../models/family.ts';
import { chooseSampling, describeSampling, type StrategyChoice } from './choose-strategy.ts';
import { planImages } from './class-choice.ts';
import type { PipelineEvent } from './events.ts';
import { generateImages } from './generate-images.ts';
import { type GeneratorChoice, loadedType, openGenerator, setWeightsType } from './open-generator.ts';
import { ownStrategy } from './own-strategy.ts';

export interface SampleTokensOptions extends StrategyChoice, GeneratorChoice {
  /** npy file to write. */
  tokens: string;
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
  // int8 comes after what is said of the weights.
  const model = openGenerator({ ...options, dtype: loadedType(options.dtype) });
  try {
    const strategy = chooseSampling(options, ownStrategy(options.preset, model), model.generation);
    const { config } = model;
    const { labels } = planImages(options.classes ?? [], config.numClasses, classNamesOf(config.numClasses), options);
    yield { kind: 'note', message: describe(model) };
    setWeightsType(model, options.dtype);
    const message = `Sampling tokens of ${labels.length} images, ${describeSampling(strategy)}, seed ${seed}`;
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

function describe({ family, config, numParameters }: GeneratorModel): string {
  const { gridSize, codebookSize, numClasses } = config;
  const { embedDim, numHeads } = config as GeneratorConfig & { embedDim?: number; numHeads?: number };
  return (
    `${family} with ${numParameters.toLocaleString('en-US')} parameters: width ${embedDim}, ${numHeads} heads; ` +
    `${gridSize}×${gridSize} tokens of ${codebookSize} codes; ${numClasses} classes`
  );
}
