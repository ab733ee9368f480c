/**
 * Tokens from a checkpoint alone, without a tokenizer or a model folder: for parity with other implementations,
 * and for decoding elsewhere. Writes int64 [N, L] as npy.
 */

import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { encodeNpy } from '@tessera/formats';
import { scope } from '@tessera/torch';
import type { GeneratorConfig, GeneratorModel, GivenFields } from '../models/family.ts';
import { type ModelPreset, modelPreset } from '../models/presets.ts';
import { familyNames, familyOf, recogniseFamily } from '../models/registry.ts';
import { loadModule } from '../nn/state-dict.ts';
import { chooseSampling, describeSampling, type StrategyChoice } from './choose-strategy.ts';
import { planImages } from './class-choice.ts';
import { PipelineError, type PipelineEvent } from './events.ts';
import { generateImages } from './generate-images.ts';
import { loadWeights } from './load-weights.ts';
import { type SamplingDtype, useDtype } from './sampling-dtype.ts';

export interface SampleTokensOptions extends StrategyChoice, GivenFields {
  /** safetensors or PyTorch file with a bare state dict. */
  weights: string;
  /** npy file to write. */
  tokens: string;
  /** Gives what shapes do not tell, where the fields above do not. */
  preset?: ModelPreset | undefined;
  /** Labels; default: all. */
  classes?: readonly string[] | undefined;
  numImages?: number | undefined;
  perClass?: number | undefined;
  seed?: number | undefined;
  batch?: number | undefined;
  /** What the network computes in; default float32. */
  dtype?: SamplingDtype | undefined;
  signal?: AbortSignal | undefined;
}

export async function* sampleTokens(options: SampleTokensOptions): AsyncGenerator<PipelineEvent> {
  const { seed = 0, tokens: path } = options;
  const model = loadModel(options);
  try {
    useDtype(model, options.dtype);
    const strategy = chooseSampling(options, undefined, model.generation);
    const { config } = model;
    const { labels } = planImages(options.classes ?? [], config.numClasses, undefined, options);
    yield { kind: 'note', message: describe(model) };
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

function loadModel(options: SampleTokensOptions): GeneratorModel {
  const { weights, preset, encoderDepth, decoderDepth, numHeads, gridSize } = options;
  const known: GivenFields = preset === undefined ? {} : (modelPreset(preset).config as GivenFields);
  const split = encoderDepth !== undefined || decoderDepth !== undefined ? { encoderDepth, decoderDepth } : known;
  return scope(() => {
    const tensors = loadWeights(weights);
    const shapes = new Map([...tensors].map(([name, tensor]) => [name, tensor.shape]));
    const name = recogniseFamily(shapes) ?? (preset === undefined ? undefined : modelPreset(preset).family);
    if (name === undefined) {
      throw new PipelineError(
        'WEIGHTS',
        `${weights}: expected the weights of ${familyNames.join(', ')}, got other tensors.`,
      );
    }
    const family = familyOf(name);
    const given = {
      encoderDepth: split.encoderDepth,
      decoderDepth: split.decoderDepth,
      numHeads: numHeads ?? known.numHeads,
      gridSize: gridSize ?? known.gridSize,
    };
    const config = family.inferConfig(shapes, given, weights);
    return loadModule((p) => family.construct(config, p), tensors, weights);
  });
}

function describe({ family, config, numParameters }: GeneratorModel): string {
  const { gridSize, codebookSize, numClasses } = config;
  const { embedDim, numHeads } = config as GeneratorConfig & { embedDim?: number; numHeads?: number };
  return (
    `${family} with ${numParameters.toLocaleString('en-US')} parameters: width ${embedDim}, ${numHeads} heads; ` +
    `${gridSize}×${gridSize} tokens of ${codebookSize} codes; ${numClasses} classes`
  );
}
