/**
 * How the share of masked tokens is drawn in training, in [0, 1]; u is uniform.
 *
 *   beta               Beta(α, β): AutoNAT found (12, 3), mean 0.8; ENAT takes it over
 *   cosine             cos(π/2 u), density 2/π (1 - r²)^(-1/2): MaskGIT (Chang et al., CVPR 2022, section 3.3), Muse
 *   arccos             2/π arccos(u), density π/2 sin(π/2 r): MaskGIT's arccos schedule
 *   truncated-normal   N(0.55, 0.25) within [0.5, 1]: MAGE (Li et al., CVPR 2023, section 3.2)
 */

import type { Draws } from './draws.ts';

export const MASK_DISTRIBUTIONS = ['beta', 'cosine', 'arccos', 'truncated-normal'] as const;
export type MaskDistribution = (typeof MASK_DISTRIBUTIONS)[number];

const MAGE = { mean: 0.55, std: 0.25, min: 0.5, max: 1 };

/** @param beta α and β, used by `beta` alone */
export function drawMaskRatio(draws: Draws, distribution: MaskDistribution, beta: readonly [number, number]): number {
  switch (distribution) {
    case 'beta':
      return draws.beta(beta[0], beta[1]);
    case 'cosine':
      return Math.cos((Math.PI / 2) * draws.uniform());
    case 'arccos':
      return (2 / Math.PI) * Math.acos(draws.uniform());
    case 'truncated-normal': {
      // Rejection: 54 % of the draws are kept.
      for (;;) {
        const ratio = MAGE.mean + MAGE.std * draws.normal();
        if (ratio >= MAGE.min && ratio <= MAGE.max) return ratio;
      }
    }
    default:
      return distribution satisfies never;
  }
}
