/** What is evaluated, told by what is there: a model folder or a run with one, an archive, tokens, or a folder of images. */

import { existsSync, statSync } from 'node:fs';
import { extname, join } from 'node:path';
import type { SamplingSettings } from '@tessera/schedule';
import { scope } from '@tessera/torch';
import { treeSizes } from '../../data/tokens/llamagen-tree.ts';
import { chooseSampling, type StrategyChoice } from '../choose-strategy.ts';
import { PipelineError } from '../events.ts';
import { openModelFolder } from '../model-folder.ts';
import { generatedSet, openTokenSet } from './generated-set.ts';
import { type ImageSet, isArchive, isModelFolder, openFolderSet, openNpzSet } from './image-set.ts';
import type { Protocol } from './protocols.ts';
import { readStatistics } from './statistics-file.ts';

export interface SourceOptions extends StrategyChoice {
  source: string;
  protocol: Protocol;
  /** Of a model. */
  numImages?: number | undefined;
  seed?: number | undefined;
  /** Folders: crops and resizes to this many pixels. */
  size?: number | undefined;
  /** Decodes tokens. */
  tokenizer?: string | undefined;
  signal?: AbortSignal | undefined;
}

export interface Source {
  images: ImageSet;
  /** Of a model: how it is sampled. */
  strategy: SamplingSettings | undefined;
  dispose(): void;
}

export async function openSource(options: SourceOptions): Promise<Source> {
  const { source: path, protocol, signal } = options;
  if (!existsSync(path)) throw new PipelineError('NOT_FOUND', `${path}: no such file or folder.`);
  const model = [path, join(path, 'model')].find(isModelFolder);
  if (model !== undefined) return openModel(model, options);
  refuseModelOptions(options);
  const images = await openPictures(path, options, protocol, signal);
  return { images, strategy: undefined, dispose: () => images.dispose() };
}

async function openPictures(
  path: string,
  { size, tokenizer }: SourceOptions,
  protocol: Protocol,
  signal: AbortSignal | undefined,
): Promise<ImageSet> {
  if (statSync(path).isDirectory()) {
    if (existsSync(join(path, 'checkpoints'))) {
      throw new PipelineError(
        'OPTIONS',
        `${path} is a run without a finished model: expected model/ in it. "tessera export" makes a model folder of a checkpoint.`,
      );
    }
    const isTokens = tokenizer !== undefined || treeSizes(path).length > 0;
    return isTokens ? openTokenSet(path, tokenizer, protocol) : openFolderSet(path, size, signal);
  }
  if (extname(path) === '.npy') return openTokenSet(path, tokenizer, protocol);
  if (!isArchive(path)) {
    throw new PipelineError(
      'OPTIONS',
      `${path}: expected a model folder, a folder of images, an .npz of pictures, or tokens.`,
    );
  }
  const isStatistics = scope(() => {
    const found = readStatistics(path);
    return found !== undefined && !found.hasImages;
  });
  if (isStatistics) {
    throw new PipelineError('OPTIONS', `${path} holds statistics: they belong to --reference. Expected pictures.`);
  }
  return openNpzSet(path);
}

function openModel(path: string, options: SourceOptions): Source {
  const { protocol, numImages = protocol.numImages, seed = 0, signal } = options;
  const folder = openModelFolder(path);
  try {
    const strategy = chooseSampling(options, folder.strategy, folder.model.generation);
    const images = generatedSet(folder, strategy, { numImages, seed, protocol, signal });
    return { images, strategy, dispose: () => folder.dispose() };
  } catch (error) {
    folder.dispose();
    throw error;
  }
}

const MODEL_OPTIONS = ['numImages', 'strategy', 'numSteps', 'guidanceScale', 'choiceTemperature', 'sampleTemperature'];

function refuseModelOptions(options: SourceOptions): void {
  const given = MODEL_OPTIONS.find((name) => options[name as keyof SourceOptions] !== undefined);
  if (given === undefined) return;
  throw new PipelineError('OPTIONS', `${given} says how a model is sampled, and ${options.source} is no model folder.`);
}
