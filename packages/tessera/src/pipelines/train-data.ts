/** The tokens of a training, checked against one another and against the tokenizer before anything is built. */

import { DataError } from '../data/data-error.ts';
import { type OpenedTokens, openTokens, requireTokens } from '../data/tokens/open-tokens.ts';
import { gridSideOf } from '../data/tokens/token-rows.ts';
import type { Tokenizer } from '../tokenizers/tokenizer.ts';
import { PipelineError } from './events.ts';
import { openAnyTokenizer } from './model-folder.ts';
import type { DataSizes, TrainFile } from './train-settings.ts';

export interface TrainingDataOptions {
  data?: readonly string[] | undefined;
  heldOut?: string | undefined;
  tokenizer?: string | undefined;
  /** Pixels of a side that the images must have had. */
  size?: number | undefined;
  numClasses?: number | undefined;
  mix?: readonly number[] | undefined;
}

export interface TrainingData {
  /** The first token set, for errors. */
  path: string;
  data: OpenedTokens;
  heldOut: OpenedTokens | undefined;
  tokenizer: Tokenizer | undefined;
  sizes: DataSizes;
  dispose(): void;
}

export function openTrainingData(options: TrainingDataOptions, file: TrainFile): TrainingData {
  const { size, numClasses, mix } = options;
  const [paths = [], heldOutPath, tokenizerPath] = [
    options.data ?? file.data,
    options.heldOut ?? file.heldOut,
    options.tokenizer ?? file.tokenizer,
  ];
  const [path] = paths;
  if (path === undefined) {
    throw new PipelineError('OPTIONS', 'train: expected tokens (--data), as a flag or in the configuration.');
  }
  const owned: { dispose(): void }[] = [];
  const own = <T extends { dispose(): void }>(one: T): T => {
    owned.push(one);
    return one;
  };
  const dispose = (): void => {
    for (const one of owned) one.dispose();
  };
  try {
    const tokenizer = tokenizerPath === undefined ? undefined : own(openAnyTokenizer(tokenizerPath).tokenizer);
    const assumed = { imageSize: size, codebookSize: tokenizer?.codebookSize, numClasses };
    const data = own(openTokens(paths, { ...assumed, weights: mix }));
    const { codebookSize, classes, numRows } = data;
    const needed = { gridSize: gridSideOf(data.seqLen, path), codebookSize, numClasses: classes.length };
    const heldOut = heldOutPath === undefined ? undefined : own(openTokens([heldOutPath], assumed));
    if (heldOut !== undefined) requireTokens(heldOut, needed, heldOutPath!, 'the training data');
    if (tokenizer !== undefined) {
      const { downsampleFactor } = tokenizer;
      const gridSize = size === undefined ? undefined : size / downsampleFactor;
      requireTokens(data, { codebookSize: tokenizer.codebookSize, gridSize, downsampleFactor }, path, 'the tokenizer');
    }
    if (size !== undefined && data.imageSize !== undefined && data.imageSize !== size) {
      throw new DataError(
        'TOKENS_SIZE',
        `${path} was made of images of ${data.imageSize} px, --size says ${size}: tokenize the images with ` +
          `--size ${size}, or train at ${data.imageSize}.`,
      );
    }
    return { path, data, heldOut, tokenizer, sizes: { ...needed, numRows }, dispose };
  } catch (error) {
    dispose();
    throw error;
  }
}
