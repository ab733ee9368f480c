/**
 * The smallest real training task, for the tests of the loop: a network of two layers with dropout learns a fixed
 * function of two numbers. Items are points on a spiral, so that item i is a formula and needs no data.
 */

import { dropout, fromTypedArray, manualSeed, mseLoss, type Tensor, tanh } from '@tessera/torch';
import { Linear } from '../nn/layers.ts';
import { initialise, Module, type ParameterBuilder } from '../nn/module.ts';
import type { Shard, ShardResult, TrainingTask } from './task.ts';

const HELD_OUT = 64;

export class ToyNetwork extends Module {
  private readonly hidden: Linear;
  private readonly output: Linear;

  constructor(p: ParameterBuilder, width: number) {
    super(p);
    this.hidden = new Linear(p.child('hidden'), 2, width);
    this.output = new Linear(p.child('output'), width, 1);
  }

  /** x — [B, 2]; returns [B, 1]. */
  forward(x: Tensor, dropoutProbability: number): Tensor {
    return this.output.forward(dropout(tanh(this.hidden.forward(x)), dropoutProbability, dropoutProbability > 0));
  }
}

export interface ToyOptions {
  seed?: number;
  width?: number;
  dropout?: number;
  numItems?: number;
}

export class ToyTask implements TrainingTask {
  readonly name = 'toy';
  readonly model: ToyNetwork;
  readonly ema: ToyNetwork;
  readonly numItems: number;
  private readonly dropout: number;

  constructor(options: ToyOptions = {}) {
    manualSeed(options.seed ?? 0);
    const build = () => initialise((p) => new ToyNetwork(p, options.width ?? 16));
    this.model = build().trainable();
    this.ema = build();
    this.ema.copyFrom(this.model);
    this.dropout = options.dropout ?? 0.1;
    this.numItems = options.numItems ?? 100;
  }

  shardLoss(shard: Shard): ShardResult {
    const { inputs, targets } = points(shard.items);
    const output = this.model.forward(inputs, this.dropout);
    const loss = mseLoss(output, targets);
    return { loss, metrics: { meanOutput: output.detach().mean(), firstItem: shard.items[0]! } };
  }

  evaluate(): Record<string, number> {
    const { inputs, targets } = points(Array.from({ length: HELD_OUT }, (_, i) => i + 0.5));
    return { loss: mseLoss(this.ema.forward(inputs, 0), targets).item() };
  }

  dispose(): void {
    this.model.dispose();
    this.ema.dispose();
  }
}

/** inputs — [B, 2], targets — [B, 1] float32. */
function points(items: readonly number[]): { inputs: Tensor; targets: Tensor } {
  const inputs = new Float32Array(items.length * 2);
  const targets = new Float32Array(items.length);
  items.forEach((item, i) => {
    const radius = (item % 97) / 97;
    const x = radius * Math.cos(item);
    const y = radius * Math.sin(item);
    inputs.set([x, y], 2 * i);
    targets[i] = x * y + 0.5 * x;
  });
  return { inputs: fromTypedArray(inputs, [items.length, 2]), targets: fromTypedArray(targets, [items.length, 1]) };
}
