/**
 * Sizes of LlamaGen's GPT (Sun et al., arXiv 2406.06525). Next-patch prediction (Pang et al., arXiv 2412.15321) trains
 * the same network: patches exist only in its training.
 *
 * Checked against the released code: exact parameter counts (reference §3.1), the hidden width of the feed-forward
 * network is the smallest multiple of 256 from ⌊8D/3⌋ on.
 */

import { strictConfig } from '@tessera/schedule';
import { z } from 'zod';

const dropoutRate = z.number().min(0).max(0.9);

export const gptConfigSchema = strictConfig({
  /** Side of the token grid; n = gridSize². Nothing in the weights depends on it. */
  gridSize: z.int().min(1).max(256),
  /** V. */
  codebookSize: z
    .int()
    .min(2)
    .max(1 << 20),
  /** Classes without the null label, which is `numClasses`. Ignored with `caption`. */
  numClasses: z
    .int()
    .min(1)
    .max(1 << 20),
  /** D. */
  embedDim: z.int().min(4).max(16384),
  depth: z.int().min(1).max(256),
  /** H; the width of a head, D / H, is a multiple of 4. */
  numHeads: z.int().min(1).max(256),
  /** Heads of keys and values, a divisor of numHeads (grouped-query attention). Default: numHeads. */
  numKvHeads: z.int().min(1).max(256).optional(),
  /** The hidden width of the feed-forward networks is a multiple of this. */
  ffnMultipleOf: z.int().min(1).max(16384).default(256),
  ropeBase: z.number().min(1).max(1e9).default(10000),
  normEps: z.number().positive().max(1).default(1e-5),
  /** Dropout while training, on embedded tokens, after each attention and after each feed-forward network. */
  tokenDropout: dropoutRate.default(0.1),
  residualDropout: dropoutRate.default(0.1),
  ffnDropout: dropoutRate.default(0.1),
  /** Largest rate of dropping a block's branch for a whole sample, at the last block (Huang et al. 2016). Above 0 it
   * takes the place of residualDropout and ffnDropout. */
  dropPath: dropoutRate.default(0),
  /** Share of conditions replaced by the null one while training; with 0 there is no null class and no guidance. */
  conditionDropout: dropoutRate.default(0.1),
  /** Present: conditioned on text features instead of a class, left-padded to `numTokens` rows of `dim`. */
  caption: strictConfig({
    dim: z.int().min(1).max(65536),
    numTokens: z.int().min(1).max(4096).default(120),
  }).optional(),
}).superRefine((config, context) => {
  const { embedDim, numHeads, numKvHeads = numHeads } = config;
  if (embedDim % (4 * numHeads) !== 0) {
    const message = `expected embedDim to be a multiple of 4 · numHeads = ${4 * numHeads}, got ${embedDim}`;
    context.addIssue({ code: 'custom', path: ['embedDim'], message });
  }
  if (numHeads % numKvHeads !== 0) {
    const message = `expected a divisor of numHeads ${numHeads}, got ${numKvHeads}`;
    context.addIssue({ code: 'custom', path: ['numKvHeads'], message });
  }
});

export type GptConfig = z.output<typeof gptConfigSchema>;
export type GptConfigInput = z.input<typeof gptConfigSchema>;

/** Sizes that follow from others. */
export interface GptSizes {
  /** T, positions of the condition in front of the tokens. */
  conditionTokens: number;
  /** n. */
  seqLen: number;
  headDim: number;
  numKvHeads: number;
  ffnHidden: number;
  /** Rows of the class table: with the null class where there is one. */
  classRows: number;
}

export function gptSizes(config: GptConfig): GptSizes {
  const { gridSize, embedDim, numHeads, ffnMultipleOf, numClasses, conditionDropout, caption } = config;
  return {
    conditionTokens: caption?.numTokens ?? 1,
    seqLen: gridSize * gridSize,
    headDim: embedDim / numHeads,
    numKvHeads: config.numKvHeads ?? numHeads,
    ffnHidden: ffnMultipleOf * Math.ceil(Math.floor((8 * embedDim) / 3) / ffnMultipleOf),
    classRows: numClasses + (conditionDropout > 0 ? 1 : 0),
  };
}
