/**
 * ENAT's training loss (released code of LeapLabTHU/ENAT; reference §4): cross entropy with label smoothing on the
 * masked positions. Half of the shards train temporal reuse: some visible tokens are hidden, a network without gradient
 * (the EMA, by default) encodes the rest as "the step before", and the trained network takes its features and encodes
 * the hidden ones as newly revealed.
 *
 * Every draw is an argument: the task draws from the run's generator, the parity suite injects recordings.
 */

import { cat, crossEntropyLoss, noGrad, type Tensor, where } from '@tessera/torch';
import type { Enat, EnatState } from './enat.ts';
import type { RunBlock } from './family.ts';

export interface EnatLossInput {
  /** Clean tokens: [B, L] int64. */
  tokens: Tensor;
  /** [B] int64, already dropped to the null label where the data set drops them. */
  labels: Tensor;
  /** A permutation of 0..L-1 a sample: position p is masked iff order[p] < maskCount; [B, L] int64. */
  order: Tensor;
  /** Masked tokens a sample, 1..L-1. */
  maskCount: number;
  /** Present when the shard trains reuse. */
  reuse?: {
    /** Gives the features of the step before, without gradient. */
    network: Enat;
    /** Visible tokens hidden from the step before, 0..L-maskCount. */
    hideCount: number;
    /** The visible positions with the lowest values are hidden; [B, L] float32. */
    hideOrder: Tensor;
  };
  /** Labels dropped inside the trained network, on top of the data set's: [B] bool. */
  dropLabels?: Tensor;
  dropout?: { probability: number; keep?: Tensor };
  labelSmoothing: number;
  runBlock?: RunBlock | undefined;
}

export interface EnatLossOutput {
  /** Scalar. */
  loss: Tensor;
  /** Logits of the masked positions: [B, M, V]. */
  logits: Tensor;
  /** Their true tokens: [B, M]. */
  targets: Tensor;
  /** Labels as the trained network saw them: [B]. */
  labelsUsed: Tensor;
  masked: Tensor; // [B, M]
  visible: Tensor; // [B, L - M]
  /** What the step before saw, when the shard trains reuse. */
  before?: StepBefore;
}

export interface StepBefore {
  state: EnatState | undefined;
  /** Positions it saw: [B, V'], undefined for none. */
  visible: Tensor | undefined;
  /** Positions masked for it: [B, L - V']. */
  masked: Tensor;
}

export function enatLoss(model: Enat, input: EnatLossInput): EnatLossOutput {
  const { tokens, labels, order, maskCount } = input;
  const { seqLen } = model;
  const byMask = order.ge(maskCount).argsort({ stable: true }); // masked positions first, each part ascending
  const masked = byMask.narrow(1, 0, maskCount);
  const visible = byMask.narrow(1, maskCount, seqLen - maskCount);

  let fresh: Tensor | undefined = visible;
  let reused: EnatState | undefined;
  let before: StepBefore | undefined;
  if (input.reuse !== undefined) {
    const { network, hideCount, hideOrder } = input.reuse;
    const byHide = visible.gather(1, hideOrder.gather(1, visible).argsort({ stable: true }));
    const hidden = part(byHide, 0, hideCount);
    const older = part(byHide, hideCount, seqLen - maskCount - hideCount);
    before = noGrad(() => stepBefore(network, tokens, labels, older, masked, hidden));
    reused = before.state;
    fresh = hidden;
  }
  const labelsUsed =
    input.dropLabels === undefined ? labels : where(input.dropLabels, labels.fullLike(model.nullLabel), labels);
  const output = model.forward({
    tokens,
    masked,
    fresh,
    reused,
    conditioning: model.condition(labelsUsed),
    runBlock: input.runBlock,
    ...(input.dropout === undefined ? {} : { dropout: input.dropout }),
  });
  const logits = model.head(output.masked);
  const targets = tokens.gather(1, masked);
  const loss = crossEntropyLoss(logits.flatten(0, 1), targets.flatten(), undefined, MEAN, -100, input.labelSmoothing);
  return { loss, logits, targets, labelsUsed, masked, visible, ...(before === undefined ? {} : { before }) };
}

const MEAN = 1;

function stepBefore(
  network: Enat,
  tokens: Tensor,
  labels: Tensor,
  older: Tensor | undefined,
  masked: Tensor,
  hidden: Tensor | undefined,
): StepBefore {
  // Only the features of visible tokens are reused, and the encoder does not see mask tokens: the decoder need not run.
  const state = network.encode({ tokens, fresh: older, conditioning: network.condition(labels) });
  return { state, visible: older, masked: hidden === undefined ? masked : cat([masked, hidden], 1) };
}

/** Columns [start, start + length) in ascending order of their values, or undefined for none. */
function part(positions: Tensor, start: number, length: number): Tensor | undefined {
  return length === 0 ? undefined : positions.narrow(1, start, length).sort()[0];
}
