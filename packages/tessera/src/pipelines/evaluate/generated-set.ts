/**
 * Pictures that a model draws when they are asked for, and pictures decoded from stored tokens. Image i of a seed is the
 * same whatever is asked for before, so blocks may be drawn by any process and in any order.
 */

import type { SamplingSettings } from '@tessera/schedule';
import { keep, noGrad, scope, type Tensor } from '@tessera/torch';
import { openStoredTokens } from '../../data/tokens/open-tokens.ts';
import { gridSideOf } from '../../data/tokens/token-rows.ts';
import type { Tokenizer } from '../../tokenizers/tokenizer.ts';
import { labelOf } from '../evaluation-images.ts';
import { PipelineError } from '../events.ts';
import type { ModelFolder } from '../model-folder.ts';
import { openAnyTokenizer } from '../model-folder.ts';
import { generateLabelled } from '../start-generation.ts';
import { fingerprintOfTokenizer } from '../tokenize/work-plan.ts';
import { fileIdentity, type ImageSet, sha256 } from './image-set.ts';
import type { Protocol } from './protocols.ts';

/** A model's pictures; the folder stays the caller's. */
export function generatedSet(
  folder: ModelFolder,
  strategy: SamplingSettings,
  options: { numImages: number; seed: number; protocol: Protocol; signal?: AbortSignal | undefined },
): ImageSet {
  const { numImages, seed, protocol, signal } = options;
  const { model, tokenizer, path } = folder;
  const { numClasses } = model.config;
  const labels = classLabels(protocol.classes, numImages, numClasses, seed);
  const weights = fileIdentity(`${path}/model.safetensors`);
  const what = { strategy, seed, classes: protocol.classes, numImages, weights, rounding: protocol.rounding };
  return {
    kind: 'model',
    path,
    count: numImages,
    fingerprint: sha256(`${JSON.stringify(what)} ${fingerprintOfTokenizer(tokenizer)}`),
    labels,
    async read(first, count) {
      signal?.throwIfAborted();
      await new Promise((resolve) => setImmediate(resolve));
      return noGrad(() =>
        scope(() => {
          const some = labels.slice(first, first + count);
          const tokens = generateLabelled(model, { strategy, labels: some, seed, first });
          return keep(pictures(tokenizer, tokens, protocol));
        }),
      );
    },
    dispose: () => {},
  };
}

/** Uniform draws as `tessera sample`'s; balanced: N / classes of each, class 0 first, what is left over is class 0 (ENAT). */
export function classLabels(rule: Protocol['classes'], numImages: number, numClasses: number, seed: number): number[] {
  const perClass = Math.floor(numImages / numClasses);
  return Array.from({ length: numImages }, (_, i) => {
    if (rule === 'uniform') return labelOf(seed, i, numClasses);
    const label = perClass === 0 ? 0 : Math.floor(i / perClass);
    return label < numClasses ? label : 0;
  });
}

/** The pictures of a token file, decoded. */
export function openTokenSet(path: string, tokenizerPath: string | undefined, protocol: Protocol): ImageSet {
  if (tokenizerPath === undefined) {
    throw new PipelineError('OPTIONS', `${path} holds tokens: add --tokenizer with what decodes them.`);
  }
  const { tokenizer } = openAnyTokenizer(tokenizerPath);
  const rows = openStoredTokens(path, { codebookSize: tokenizer.codebookSize });
  const release = (): void => {
    rows.dispose();
    tokenizer.dispose();
  };
  if (rows.codebookSize !== tokenizer.codebookSize) {
    release();
    throw new PipelineError(
      'CODEBOOK',
      `${path} has ${rows.codebookSize} codes, the tokenizer ${tokenizer.codebookSize}: they do not belong together.`,
    );
  }
  gridSideOf(rows.seqLen, path); // refuses what is no square grid
  const what = JSON.stringify([rows.identity, protocol.rounding]);
  return {
    kind: 'tokens',
    path,
    count: rows.numRows,
    fingerprint: sha256(`${what} ${fingerprintOfTokenizer(tokenizer)}`),
    labels: undefined,
    async read(first, count) {
      return noGrad(() =>
        scope(() => {
          const indices = Array.from({ length: count }, (_, i) => first + i);
          return keep(pictures(tokenizer, rows.rows(indices, undefined).tokens, protocol));
        }),
      );
    },
    dispose: release,
  };
}

/** tokens — [N, L]; float32 [N, 3, Y, X] in [0, 1], or bytes [N, Y, X, 3] rounded as pictures are written. */
function pictures(tokenizer: Tokenizer, tokens: Tensor, { rounding }: Protocol): Tensor {
  const images = tokenizer.decode(tokens).clamp(0, 1);
  return rounding === 'float'
    ? images
    : images.mul(255).add(0.5).floor().to('uint8').permute([0, 2, 3, 1]).contiguous();
}
