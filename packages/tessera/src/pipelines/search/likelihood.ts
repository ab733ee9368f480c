/**
 * A surrogate that draws no image: how likely held-out tokens are under the path that a strategy takes through them. The
 * sampler runs as always, but every draw is forced to the true code, so that confidence, noise and counts decide which
 * tokens are fixed at each step; each token's log-probability is taken at the step that fixes it, after guidance and at
 * that step's temperature. Value: the mean of −log p over tokens, in nats.
 *
 * It knows nothing of diversity, and an order that is easy for true tokens need not be easy for drawn ones: good for a
 * first stage, not for a last one.
 */

import { setImmediate } from 'node:timers/promises';
import { isAutoregressive } from '@tessera/schedule';
import { scope, type Tensor } from '@tessera/torch';
import type { TokenRows } from '../../data/tokens/token-rows.ts';
import type { MaskedModel } from '../../models/family.ts';
import { beside } from '../../nn/device.ts';
import { guide } from '../../sampling/draw-codes.ts';
import type { Objective } from '../../search/objective.ts';
import { SearchError } from '../../search/search-error.ts';
import { type GenerationOptions, generateTokens, type StepRecord } from '../masked-generation.ts';
import { type NoiseSource, philoxNoise } from '../noise-source.ts';
import { spreadPlace } from './spread.ts';

/**
 * argmax(p / e) is the true code when its e is this small and all others are 1; but for codes e^69 times less likely than the
 * best one, which only very cold steps have: there the best one is drawn, and later steps see it.
 */
const FORCED = 1e-30;
/** Of a token: one that a cold step calls impossible must not decide alone. */
const LOWEST_LOG_PROBABILITY = -30;

export function likelihoodObjective(
  model: MaskedModel,
  data: TokenRows,
  { batch, seedOf }: { batch: number; seedOf: (block: number) => number },
): Objective {
  return {
    evaluate: async (settings, { numImages, seedBlock, signal }) => {
      if (isAutoregressive(settings)) throw new SearchError('SEARCH_OBJECTIVE', 'likelihood measures masked models.');
      const losses: number[] = [];
      // Rows evenly from all classes, which may lie one behind the other.
      for (let first = 0; first < numImages; first += batch) {
        signal?.throwIfAborted();
        const count = Math.min(batch, numImages - first);
        const rows = Array.from({ length: count }, (_, i) =>
          spreadPlace(first + i, numImages, data.numRows, seedBlock),
        );
        scope(() => {
          const { tokens: stored, labels } = data.rows(rows, undefined);
          const tokens = beside(stored, model);
          const images = rows.map((_, i) => first + i);
          const noise = forcedNoise(philoxNoise(seedOf(seedBlock), images), tokens);
          losses.push(...pathLoss(model, { strategy: settings, labels: labels.toNumbers(), noise }, tokens));
        });
        await setImmediate();
      }
      const mean = losses.reduce((sum, x) => sum + x, 0) / losses.length;
      const variance = losses.reduce((sum, x) => sum + (x - mean) ** 2, 0) / Math.max(1, losses.length - 1);
      return { value: mean, stdError: Math.sqrt(variance / losses.length) };
    },
  };
}

type PathOptions = Omit<GenerationOptions, 'observe' | 'labels'> & { labels: readonly number[] };

/** Mean −log p of each image's tokens — [B]. */
function pathLoss(model: MaskedModel, options: PathOptions, tokens: Tensor): number[] {
  const { seqLen } = model;
  /** Log-probability of each token at the last step that found it masked, which is the one that fixed it: [B · L]. */
  const last = new Float64Array(tokens.numel);
  const observe = ({ settings, input, prediction }: StepRecord): void => {
    const masked = input.masked!;
    const { cond, uncond } = prediction;
    const logits = guide({ cond, uncond, guidanceScale: settings.guidanceScale });
    const log = logits.div(settings.sampleTemperature).logSoftmax(-1); // [B, M, V]
    const own = log.gather(-1, tokens.gather(1, masked).unsqueeze(-1)).squeeze(-1).toNumbers();
    // Ragged rows are filled with visible tokens.
    const isMasked = input.tokens.gather(1, masked).eq(model.maskToken).to('uint8').toNumbers();
    const width = masked.size(1);
    for (const [i, position] of masked.toNumbers().entries()) {
      if (isMasked[i] !== 1) continue;
      last[Math.floor(i / width) * seqLen + position] = Math.max(LOWEST_LOG_PROBABILITY, own[i]!);
    }
  };
  generateTokens(model, { ...options, observe });
  return options.labels.map((_, row) => {
    const ofImage = last.subarray(row * seqLen, (row + 1) * seqLen);
    return -ofImage.reduce((sum, x) => sum + x, 0) / seqLen;
  });
}

/** The noise of the choice as it is; that of the draw such that the true codes win. */
function forcedNoise(source: NoiseSource, tokens: Tensor): NoiseSource {
  return {
    gumbel: source.gumbel,
    exponential: (_, positions, numCodes) => {
      const [batch, count] = positions.shape as [number, number];
      const wanted = tokens.gather(1, positions).unsqueeze(-1); // [B, M, 1]
      const ones = wanted.expand([batch, count, numCodes]).mul(0).add(1).to('float32');
      return ones.scatterValue(-1, wanted, FORCED);
    },
  };
}
