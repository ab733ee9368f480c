/**
 * What a step of a NAT model costs, in closed form: multiply-accumulates of matrix products and attention of one sample
 * and one branch (reference: paper-numbers §3). `reference` is what the released code computes, `computed` what ours does:
 * the head on masked positions alone, ENAT's modulations and its decoder's first look at mask tokens once for all steps,
 * AutoNAT's last block for masked tokens alone.
 */

import type { AutoNatConfig } from './autonat.ts';
import type { EnatConfig } from './enat.ts';
import type { StepMacs, StepSizes } from './family.ts';

export function autonatStepMacs(config: AutoNatConfig, { masked: m }: StepSizes): StepMacs {
  const { embedDim: D, depth, codebookSize: V } = config;
  const S = config.gridSize ** 2 + 1; // with the class token
  const mlp = 2 * D * Math.round(D * config.mlpRatio);
  const block = (queries: number) => queries * (2 * D * D + mlp) + 2 * S * D * D + 2 * queries * S * D;
  const skips = (depth / 2) * S * 2 * D * D;
  const head = (positions: number, codes: number) => positions * (D * D + D * codes);
  return {
    reference: (depth + 1) * block(S) + skips + head(S, V + 1),
    computed: depth * block(S) + block(m) + skips + head(m, V),
    state: 0,
  };
}

export function enatStepMacs(config: EnatConfig, { masked: m, fresh: n, reused: p }: StepSizes): StepMacs {
  const { embedDim: D, encoderDepth, decoderDepth, codebookSize: V } = config;
  const L = config.gridSize ** 2;
  const mlp = 2 * D * Math.round(D * config.mlpRatio);
  const modulation = 8 * D * D;
  const block = (own: number, foreign: number) =>
    own * (2 * D * D + mlp) + 2 * (own + foreign) * D * D + 2 * own * (own + foreign) * D;
  const encoder = (extra: number) => (n > 0 ? encoderDepth * (block(n, p) + extra) : 0);
  const decoder = (extra: number) => decoderDepth * (block(m, L - m) + extra);
  const reuse = 8 * p * D * D;
  const head = (positions: number, codes: number) => positions * (D * D + D * codes);
  return {
    reference: encoder(modulation) + decoder(modulation) + reuse + head(L, V + 1),
    computed: encoder(0) + decoder(0) - maskTokenMacs(D, m) + reuse + head(m, V),
    state: encoder(0) + reuse,
  };
}

/** Once for a generation that begins with nothing, and a branch: modulations, and mask tokens in the decoder's first block. */
export function enatSetupMacs({ embedDim, encoderDepth, decoderDepth, gridSize }: EnatConfig): number {
  return (encoderDepth + decoderDepth) * 8 * embedDim ** 2 + maskTokenMacs(embedDim, gridSize ** 2);
}

/** Queries, keys and values. */
function maskTokenMacs(embedDim: number, count: number): number {
  return 3 * count * embedDim ** 2;
}
