/**
 * Trading time for memory in training (Chen et al. 2016, "Training deep nets with sublinear memory cost"): of each block
 * only the inputs are kept, and the backward pass runs the block once more to get its activations back.
 *
 * libtorch's autograd has no hook here that runs JavaScript, so the backward pass is walked by hand, block by block from
 * the last, when the loss is known. The gradients that this gives are put behind a loss of the same value as
 * loss = L + Σ (p · g - p · g), whose gradient for p is g: callers scale it and call backward() as on any other.
 *
 * What passes from block to block must come out of `run`; tensors from elsewhere enter with graphs that share nothing but
 * parameters, since each is walked back on its own.
 */

import { enableGrad, manualSeed, noGrad, scope, type Tensor } from '@tessera/torch';
import type { Module } from './module.ts';

type Block = (...inputs: Tensor[]) => Tensor;

/** Sees to it that a block's weights are there while it runs. `block` counts the blocks of a forward pass. */
export interface BlockWeights {
  during<T>(block: number, pass: 'forward' | 'backward', body: () => T): T;
}

/** In order of the forward pass: a block that was run, or a tensor with a graph of its own that came in. */
type Passed =
  | { kind: 'block'; block: Block; inputs: Tensor[]; output: Tensor; index: number }
  | { kind: 'entry'; entry: Tensor; leaf: Tensor };

export class Recompute {
  private readonly passed: Passed[] = [];
  /** Every input of a block by what was given for it: leaves all, so that gradients are left at them. */
  private readonly leaves = new Map<Tensor, Tensor>();
  private readonly dropoutSeed: number | undefined;
  private readonly weights: BlockWeights;
  private blocks = 0;

  /**
   * @param dropoutSeed where blocks draw dropout from libtorch's generator: it is seeded before each of them, so that
   *   running one again draws the same
   * @param weights where blocks' weights are not always there
   */
  constructor(dropoutSeed?: number, weights: BlockWeights = { during: (_block, _pass, body) => body() }) {
    this.dropoutSeed = dropoutSeed;
    this.weights = weights;
  }

  /** Runs a block without recording it; for a model's `runBlock`. */
  readonly run = (block: Block, ...inputs: Tensor[]): Tensor => {
    const leaves = inputs.map((input) => this.leafFor(input));
    const index = this.blocks++;
    this.seed(index);
    const forward = () => noGrad(() => scope(() => block(...leaves).detach()));
    const output = this.weights.during(index, 'forward', forward).requiresGrad_();
    this.leaves.set(output, output);
    this.passed.push({ kind: 'block', block, inputs: leaves, output, index });
    return output;
  };

  /**
   * The loss of what came out of the blocks, with the whole gradient behind it; scalar. See walkBack for `lossScale`, which
   * is no part of that gradient.
   */
  lossWithGradient(model: Module, loss: Tensor, lossScale = 1): Tensor {
    const parameters = [...model.parameters.values()].filter((parameter) => parameter.requiresGrad);
    const before = parameters.map((parameter) => parameter.grad);
    model.clearGradients();
    this.walkBack(loss, lossScale);
    const gradients = parameters.map((parameter) => parameter.grad);
    model.clearGradients();
    const pairs: [Tensor, Tensor][] = [];
    for (const [i, parameter] of parameters.entries()) {
      const [earlier, gradient] = [before[i], gradients[i]];
      if (earlier !== undefined) parameter.grad = earlier;
      if (gradient !== undefined) pairs.push([parameter, gradient]);
    }
    return lossWithGradients(loss, pairs, lossScale);
  }

  private leafFor(input: Tensor): Tensor {
    const known = this.leaves.get(input);
    if (known !== undefined) return known;
    const leaf = input.detach().requiresGrad_();
    this.leaves.set(input, leaf);
    this.passed.push({ kind: 'entry', entry: input, leaf });
    return leaf;
  }

  /**
   * Leaves the gradient of the loss at all parameters, block by block from the last.
   *
   * @param lossScale what the loss is multiplied by first: float16 would lose small gradients on their way otherwise. The
   *   gradients at the parameters have it in them
   */
  walkBack(loss: Tensor, lossScale = 1): void {
    if (lossScale === 1) loss.backward();
    else loss.mul(lossScale).backward();
    for (const step of this.passed.toReversed()) {
      const gradient = (step.kind === 'block' ? step.output : step.leaf).grad;
      if (gradient === undefined) continue;
      if (step.kind === 'block') {
        this.seed(step.index);
        const backward = () => scope(() => enableGrad(() => step.block(...step.inputs)).backward(gradient));
        this.weights.during(step.index, 'backward', backward);
      } else if (step.entry.requiresGrad) step.entry.backward(gradient);
    }
  }

  private seed(index: number): void {
    if (this.dropoutSeed !== undefined) manualSeed(this.dropoutSeed + 1 + index);
  }
}

/**
 * A scalar of a loss's value, whose gradient for each parameter is the tensor given with it, divided by `lossScale`. What has
 * overflowed stays infinite or NaN in the gradient, and leaves the value alone.
 *
 * @param gradients float32, like their parameters; changed in place
 */
export function lossWithGradients(
  loss: Tensor,
  gradients: Iterable<readonly [parameter: Tensor, gradient: Tensor]>,
  lossScale = 1,
): Tensor {
  let result = loss.detach();
  for (const [parameter, gradient] of gradients) {
    if (lossScale !== 1) noGrad(() => gradient.div_(lossScale));
    const product = scope(() => parameter.mul(gradient).sum());
    result = result.add(product.sub(product.detach()));
  }
  // p · g - p · g is 0, but not where g is infinite.
  noGrad(() => scope(() => result.detach().copy_(loss)));
  return result;
}
