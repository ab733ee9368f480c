/**
 * Tokens from a checkpoint alone, without a tokenizer or a model folder: for parity with other implementations,
 * and for decoding elsewhere. Writes int64 [N, L] as npy. Among several processes each draws a share and hands it to the
 * first one as a file beside the npy, which all of them must see.
 */

import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { encodeNpy } from '@tessera/formats';
import { classNamesOf } from '../data/imagenet-classes.ts';
import { replaceWhole, requireFree } from '../data/whole-folder.ts';
import type { GeneratorConfig, GeneratorModel } from '../models/family.ts';
import type { Ranks } from '../training/ranks.ts';
import { chooseSampling, describeSampling, type StrategyChoice } from './choose-strategy.ts';
import { planImages } from './class-choice.ts';
import type { PipelineEvent } from './events.ts';
import { generateImages } from './generate-images.ts';
import { amongRanks } from './join-ranks.ts';
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

export function sampleTokens(options: SampleTokensOptions): AsyncGenerator<PipelineEvent> {
  return amongRanks((ranks) => sampleTokensOn(options, ranks));
}

/** What one of the processes does. */
export async function* sampleTokensOn(options: SampleTokensOptions, ranks: Ranks): AsyncGenerator<PipelineEvent> {
  const { seed = 0, tokens: path } = options;
  // Started again by a launcher, it may find the file of its own last start.
  if (Number(process.env.TORCHELASTIC_RESTART_COUNT ?? 0) === 0) await ranks.decide(() => requireFree(path) ?? null);
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
    const shareEnd = (rank: number): number => Math.floor((labels.length * rank) / ranks.size);
    const range = [shareEnd(ranks.rank), shareEnd(ranks.rank + 1)] as const;
    // The first one's holds the others' too.
    const numRows = ranks.isFirst ? labels.length : range[1] - range[0];
    const data = new BigInt64Array(numRows * model.seqLen);
    yield* generateImages(model, { ...options, strategy, labels, range, seed }, ({ first, tokens }) => {
      data.set(tokens.toTypedArray() as BigInt64Array, (first - range[0]) * model.seqLen);
    });
    mkdirSync(dirname(path), { recursive: true });
    const partOf = (rank: number): string => `${path}.part-${rank}`;
    // No rank fails or stops unheard, and the others' parts are there.
    await ranks.together(() => {
      if (!ranks.isFirst) writeFileSync(partOf(ranks.rank), new Uint8Array(data.buffer));
      return null;
    });
    if (!ranks.isFirst) {
      yield { kind: 'result', result: { tokens: path, config, labels, seed, strategy } };
      return;
    }
    for (let rank = 1; rank < ranks.size; rank++) {
      const bytes = readFileSync(partOf(rank));
      data.set(new BigInt64Array(new Uint8Array(bytes).buffer), shareEnd(rank) * model.seqLen);
      rmSync(partOf(rank));
    }
    replaceWhole(path, encodeNpy({ dtype: 'int64', shape: [labels.length, model.seqLen], data }));
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
