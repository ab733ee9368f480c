/** Opens tokens of any layout as training input: one place, or several mixed. */
import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { DataError } from '../data-error.ts';
import { TokenDataset } from '../token-dataset.ts';
import { LlamaGenTokens, type TreeOptions, treeSizes } from './llamagen-tree.ts';
import { MixedTokens, type MixOptions } from './mixed-tokens.ts';
import { type NatNpyOptions, NatNpyTokens } from './nat-npy.ts';
import { gridSideOf, type StoredTokens, type TokenRows } from './token-rows.ts';

export interface OpenTokensOptions extends TreeOptions, NatNpyOptions, MixOptions {}

/** Rows with an owner: what a training reads and, at its end, gives back. */
export type OpenedTokens = StoredTokens | MixedTokens;

/** One source as it is; several as a mixture; a source whose paired extraction lies beside it, as the pair. */
export function openTokens(paths: string | readonly string[], options: OpenTokensOptions = {}): OpenedTokens {
  const given = typeof paths === 'string' ? [paths] : paths;
  const [only] = given;
  const { weights } = options;
  if (weights !== undefined && weights.length !== given.length) {
    throw new DataError(
      'TOKENS_WEIGHTS',
      `Expected a weight for each of ${given.length} token sets, got ${weights.length}.`,
    );
  }
  const all = given.length === 1 && options.weights === undefined ? [only!, ...pairOf(only!, options)] : given;
  const sources: StoredTokens[] = [];
  try {
    for (const path of all) sources.push(openStoredTokens(path, options));
    return sources.length === 1 ? sources[0]! : new MixedTokens(sources, options);
  } catch (error) {
    for (const source of sources) source.dispose();
    throw error;
  }
}

/** One place, its layout told by what is there. */
export function openStoredTokens(path: string, options: TreeOptions & NatNpyOptions = {}): StoredTokens {
  if (!existsSync(path)) throw new DataError('TOKENS_MISSING', `Expected tokens at ${path}, got nothing there.`);
  if (statSync(path).isFile()) return NatNpyTokens.open(path, options);
  if (treeSizes(path).length > 0) return LlamaGenTokens.open(path, options);
  if (existsSync(join(path, 'dataset.json'))) return TokenDataset.open(path);
  throw new DataError(
    'TOKENS_MISSING',
    `${path} holds no tokens: expected a data set (dataset.json in it), a .npy file of rows, or a folder with ` +
      'imagenet256_codes/. "tessera tokenize" makes them of images.',
  );
}

/**
 * NPP keeps its extraction at range 1.05 beside the one at 1.1, under the same name with `ten_crop_105` for `ten_crop`,
 * and trains on both when it finds both.
 */
function pairOf(path: string, { imageSize }: TreeOptions): string[] {
  const other = path.replace(/ten_crop(\/|$)/, 'ten_crop_105$1');
  if (other === path) return [];
  const sizes = treeSizes(other);
  return sizes.length > 0 && (imageSize === undefined || sizes.includes(imageSize)) ? [other] : [];
}

/** What a model or a tokenizer needs its tokens to be; fields that are not known are not compared. */
export interface NeededTokens {
  gridSize?: number | undefined;
  codebookSize?: number | undefined;
  numClasses?: number | undefined;
  /** Pixels of one token's side, to say sizes as people give them. */
  downsampleFactor?: number | undefined;
}

/** Refuses tokens that are not what `who` (such as "the model gpt-b") needs, in one line that says what to do. */
export function requireTokens(data: TokenRows, needed: NeededTokens, where: string, who: string): void {
  const gridSize = gridSideOf(data.seqLen, where);
  const { downsampleFactor: factor } = needed;
  if (needed.gridSize !== undefined && needed.gridSize !== gridSize) {
    const size = (grid: number): string => (factor === undefined ? '' : ` (${grid * factor} px)`);
    throw new DataError(
      'TOKENS_SIZE',
      `${where} has ${gridSize}×${gridSize} tokens an image${size(gridSize)}, ${who} needs ${needed.gridSize}×` +
        `${needed.gridSize}${size(needed.gridSize)}: tokenize the images with the --size that is trained.`,
    );
  }
  if (needed.codebookSize !== undefined && needed.codebookSize !== data.codebookSize) {
    throw new DataError(
      'TOKENS_CODEBOOK',
      `${where} has ${data.codebookSize} codes, ${who} ${needed.codebookSize}: they do not belong together.`,
    );
  }
  if (needed.numClasses !== undefined && data.classes.length > needed.numClasses) {
    throw new DataError(
      'TOKENS_CLASSES',
      `${where} has ${data.classes.length} classes, ${who} only ${needed.numClasses}: labels would have no place.`,
    );
  }
}
