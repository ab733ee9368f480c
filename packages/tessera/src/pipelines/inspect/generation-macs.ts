/**
 * What an image of a masked model costs, step by step: as the released code does it (both branches at every step, the head
 * everywhere) and as it is done here (nothing that the result does not need).
 */

import { resolveSteps, type Strategy } from '@tessera/schedule';
import type { Family, GeneratorConfig } from '../../models/family.ts';

export interface StepCost {
  masked: number;
  /** Whether the unconditional logits are wanted. */
  guided: boolean;
  /** MACs of one branch in the released code. */
  reference: number;
  /** MACs of all branches that run here. */
  computed: number;
}

export interface GenerationCost {
  steps: StepCost[];
  /** Both branches of all steps in the released code. */
  reference: number;
  /** Of a batch of one. */
  computed: number;
  /** The part of `computed` that a larger batch does once: the unconditional branch as long as everything is masked. */
  shared: number;
}

/** Undefined for families that do not count their steps. */
export function generationCost(
  family: Family,
  config: GeneratorConfig,
  strategy: Strategy,
): GenerationCost | undefined {
  if (family.stepMacs === undefined) return undefined;
  const seqLen = config.gridSize ** 2;
  const resolved = resolveSteps(strategy, seqLen);
  const lastGuided = resolved.findLastIndex((step) => step.guidanceScale !== 1);
  const setup = family.setupMacs?.(config) ?? 0;
  let shared = lastGuided >= 0 ? setup : 0;
  let computed = setup + shared;
  let reference = 0;
  let reused = 0;
  const steps = resolved.map((step, i): StepCost => {
    const visible = seqLen - step.maskedIn;
    const branch = family.stepMacs!(config, { masked: step.maskedIn, fresh: visible - reused, reused });
    reused = visible;
    const guided = step.guidanceScale !== 1;
    // An unguided step before a guided one still carries the other branch's state on, once there is any.
    const other = guided ? branch.computed : i < lastGuided && visible > 0 ? branch.state : 0;
    const cost = branch.computed + other;
    if (i === 0) shared += other;
    reference += 2 * branch.reference;
    computed += cost;
    return { masked: step.maskedIn, guided, reference: branch.reference, computed: cost };
  });
  return { steps, reference, computed, shared };
}

/** MACs of the decoder of MaskGIT's VQGAN for a grid of tokens of 16 px (reference §1): convolutions alone. */
export function maskgitDecoderMacs(gridSize: number): number {
  const widths = [128, 128, 256, 256, 512]; // by level, full resolution first
  const conv = (side: number, from: number, to: number, kernel = 3) => side * side * from * to * kernel * kernel;
  const block = (side: number, from: number, to: number) =>
    conv(side, from, to) + conv(side, to, to) + (from === to ? 0 : conv(side, to, to, 1));
  let total = conv(gridSize, 256, 512) + 2 * block(gridSize, 512, 512);
  let width = 512;
  for (let level = 4; level >= 0; level--) {
    const side = gridSize * 2 ** (4 - level);
    total += block(side, width, widths[level]!) + block(side, widths[level]!, widths[level]!);
    width = widths[level]!;
    if (level > 0) total += conv(2 * side, width, width);
  }
  return total + conv(gridSize * 16, 128, 3);
}
