/**
 * What is evaluated, told by what is there: a model folder, a run or one of its checkpoints, bare weights, an archive,
 * tokens, or a folder of images; and pictures that go through a tokenizer first.
 */

import { existsSync, statSync } from 'node:fs';
import { extname } from 'node:path';
import type { SamplingSettings } from '@tessera/schedule';
import { scope } from '@tessera/torch';
import { treeSizes } from '../../data/tokens/llamagen-tree.ts';
import type { Tokenizer } from '../../tokenizers/tokenizer.ts';
import { chooseSampling, requireNullClass, type StrategyChoice } from '../choose-strategy.ts';
import { PipelineError } from '../events.ts';
import { flagName } from '../flag-name.ts';
import { loadOfficialTokenizer } from '../load-weights.ts';
import { chooseTokenizer } from '../tokenize/choose-tokenizer.ts';
import { generatedSet } from './generated-set.ts';
import { type ImageSet, isArchive, openFolderSet, openNpzSet } from './image-set.ts';
import { finishedModel, holdsModel, type ModelChoice, type OpenedModel, openModel } from './open-model.ts';
import type { Protocol } from './protocols.ts';
import { reconstructedSet } from './reconstructed-set.ts';
import { readStatistics } from './statistics-file.ts';
import { openTokenSet } from './token-set.ts';

export interface SourceOptions extends ModelChoice, StrategyChoice {
  protocol: Protocol;
  /** Of a model. */
  numImages?: number | undefined;
  seed?: number | undefined;
  /** Folders: crops and resizes to this many pixels. */
  size?: number | undefined;
  /** Pictures are encoded and decoded first; needs a tokenizer. */
  reconstruction?: boolean | undefined;
  /** Of a reconstruction's SSIM: 1 (default), or 2 as LlamaGen's script has it. */
  ssimRange?: number | undefined;
  signal?: AbortSignal | undefined;
}

export interface Source {
  images: ImageSet;
  /** Of a reconstruction: before it. Disposed of with `images`. */
  originals?: ImageSet | undefined;
  /** Of a reconstruction. */
  tokenizer?: Tokenizer | undefined;
  /** Of a model: how it is sampled. */
  strategy: SamplingSettings | undefined;
  dispose(): void;
}

/** What can be refused before anything is opened or measured. */
export function checkSource(options: SourceOptions): void {
  const { source: path, weights, reconstruction = false, ssimRange } = options;
  if ((path === undefined) === (weights === undefined)) {
    throw new PipelineError('OPTIONS', 'Expected what is to be evaluated, or --weights FILE of a model, and not both.');
  }
  for (const place of [path, weights]) {
    if (place !== undefined && !existsSync(place)) {
      throw new PipelineError('NOT_FOUND', `${place}: no such file or folder.`);
    }
  }
  const isModel = weights !== undefined || holdsModel(path!);
  if (reconstruction && isModel) {
    throw new PipelineError(
      'OPTIONS',
      'A reconstruction starts from pictures: expected a folder of images or an .npz.',
    );
  }
  if (reconstruction && !hasTokenizer(options)) throw withoutTokenizer('A reconstruction goes through a tokenizer');
  if (!reconstruction && ssimRange !== undefined) throw misplaced('ssimRange', 'a reconstruction (--reconstruction)');
  if (isModel) refuseCheckpointOptions(options);
  else refuseModelOptions(options, reconstruction ? 'a reconstruction draws nothing' : `${path} is no model`);
}

export async function openSource(options: SourceOptions): Promise<Source> {
  checkSource(options);
  const { source: path, weights, protocol, reconstruction = false } = options;
  if (reconstruction) return openReconstruction(options);
  if (weights !== undefined || holdsModel(path!)) return openGenerated(options);
  const images = await openPictures(path!, options, protocol);
  return { images, strategy: undefined, dispose: () => images.dispose() };
}

async function openPictures(path: string, options: SourceOptions, protocol: Protocol): Promise<ImageSet> {
  const { size, signal } = options;
  const openTokens = (): ImageSet => openTokenSet(path, requireTokenizer(options, `${path} holds tokens`), protocol);
  if (statSync(path).isDirectory()) {
    const isTokens = hasTokenizer(options) || treeSizes(path).length > 0;
    return isTokens ? openTokens() : openFolderSet(path, size, { alpha: protocol.alpha, signal });
  }
  if (extname(path) === '.npy') return openTokens();
  if (!isArchive(path)) {
    throw new PipelineError(
      'OPTIONS',
      `${path}: expected a model folder, a run, a folder of images, an .npz of pictures, or tokens (.npy); weights alone go with --weights.`,
    );
  }
  if (hasTokenizer(options)) throw misplaced('tokenizer', 'tokens or a model');
  const isStatistics = scope(() => {
    const found = readStatistics(path);
    return found !== undefined && !found.hasImages;
  });
  if (isStatistics) {
    throw new PipelineError('OPTIONS', `${path} holds statistics: they belong to --reference. Expected pictures.`);
  }
  return openNpzSet(path);
}

/** Of pictures, through a tokenizer. */
async function openReconstruction(options: SourceOptions): Promise<Source> {
  const { protocol, size, signal, ssimRange = 1 } = options;
  const source = options.source!;
  const tokenizer = requireTokenizer(options, source);
  let originals: ImageSet | undefined;
  try {
    originals = isArchive(source)
      ? openNpzSet(source)
      : await openFolderSet(source, size, { alpha: protocol.alpha, signal });
    const images = reconstructedSet(originals, tokenizer, { protocol, ssimRange });
    const dispose = (): void => {
      images.dispose();
      tokenizer.dispose();
    };
    return { images, originals, tokenizer, strategy: undefined, dispose };
  } catch (error) {
    originals?.dispose();
    tokenizer.dispose();
    throw error;
  }
}

async function openGenerated(options: SourceOptions): Promise<Source> {
  const { protocol, numImages = protocol.numImages, seed = 0, signal } = options;
  const opened = openModel(options);
  try {
    const strategy = strategyOf(options, opened);
    const images = await generatedSet(opened, strategy, { numImages, seed, protocol, signal });
    const dispose = (): void => {
      images.dispose();
      opened.dispose();
    };
    return { images, strategy, dispose };
  } catch (error) {
    opened.dispose();
    throw error;
  }
}

/** Refuses the first of several ways to sample a model that is no way, before anything is drawn. */
export function checkStrategies(options: SourceOptions, changes: readonly StrategyChoice[]): void {
  const opened = openModel(options);
  try {
    for (const change of changes) strategyOf({ ...options, ...change }, opened);
  } finally {
    opened.dispose();
  }
}

function strategyOf(choice: StrategyChoice, { strategy: own, model, folder, nullClass, path }: OpenedModel) {
  const strategy = chooseSampling(choice, own, model.generation, folder);
  requireNullClass(strategy, nullClass, path);
  return strategy;
}

function hasTokenizer({ tokenizer, tokenizerWeights }: SourceOptions): boolean {
  return tokenizer !== undefined || tokenizerWeights !== undefined;
}

function requireTokenizer({ tokenizer, tokenizerWeights }: SourceOptions, why: string): Tokenizer {
  if (tokenizer !== undefined) return chooseTokenizer({ tokenizer, weights: tokenizerWeights }).tokenizer;
  if (tokenizerWeights !== undefined) return scope(() => loadOfficialTokenizer(tokenizerWeights));
  throw withoutTokenizer(why);
}

function withoutTokenizer(why: string): PipelineError {
  const advice = 'add --tokenizer with a folder or a file, or --tokenizer-weights FILE';
  return new PipelineError('OPTIONS', `${why}: ${advice}.`);
}

/** How a model is opened and drawn from. */
export const MODEL_OPTIONS = [
  'model',
  'encoderDepth',
  'decoderDepth',
  'numHeads',
  'numImages',
  'strategy',
  'numSteps',
  'guidanceScale',
  'choiceTemperature',
  'sampleTemperature',
  'skipGuidanceBelow',
  'topK',
  'topP',
  'greedy',
] as const;

function refuseModelOptions(options: SourceOptions, why: string): void {
  const given = MODEL_OPTIONS.find((name) => options[name] !== undefined);
  if (given !== undefined)
    throw new PipelineError('OPTIONS', `${flagName(given)} says how a model is sampled, and ${why}.`);
}

const OF_WEIGHTS = ['encoderDepth', 'decoderDepth', 'numHeads'] as const;
const OF_CHECKPOINTS = ['model', 'tokenizer', 'tokenizerWeights'] as const;

/** A model folder says all of it, a run what its network is. */
function refuseCheckpointOptions(options: SourceOptions): void {
  const { source, weights } = options;
  if (weights !== undefined) return;
  const isFolder = finishedModel(source!) !== undefined;
  const given = [...OF_WEIGHTS, ...(isFolder ? OF_CHECKPOINTS : [])].find((name) => options[name] !== undefined);
  if (given === undefined) return;
  throw new PipelineError(
    'OPTIONS',
    `${flagName(given)} belongs to ${isFolder ? 'a checkpoint (--weights, or one of a run)' : '--weights'}, and ${source} ${isFolder ? 'is a model folder, which holds it' : 'says it itself'}.`,
  );
}

function misplaced(option: string, what: string): PipelineError {
  return new PipelineError('OPTIONS', `${flagName(option)} belongs to ${what}.`);
}
