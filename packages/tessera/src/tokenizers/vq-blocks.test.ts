import { ones, scope, tensor } from '@tessera/torch';
import { expect, it } from 'vitest';
import { ParameterBuilder } from '../nn/module.ts';
import { AttentionBlock, Downsample, ResBlock, Upsample } from './vq-blocks.ts';

/** Weights one, biases zero. */
function builder(): ParameterBuilder {
  return new ParameterBuilder({ take: (name, shape) => ones(shape).mul(name.endsWith('bias') ? 0 : 1) });
}

it('halves with zeros right and below only', () =>
  scope(() => {
    expect(new Downsample(builder(), 1).forward(ones([1, 1, 4, 4])).toNumbers()).toEqual([9, 6, 6, 4]);
  }));

it('doubles by repeating pixels, then sums neighbours', () =>
  scope(() => {
    const y = new Upsample(builder(), 1).forward(tensor([[[[1, 10]]]]));
    expect(y.toNumbers()).toEqual([4, 24, 42, 40, 4, 24, 42, 40]);
  }));

it('adds a residual of zero where the normalised input is zero', () =>
  scope(() => {
    // A constant picture has variance 0 in its group, so norm gives 0, silu(0) = 0, and only the shortcut stays.
    expect(new ResBlock(builder(), 1, 1, 1).forward(ones([1, 1, 2, 2]).mul(3)).toNumbers()).toEqual([3, 3, 3, 3]);
    expect(new ResBlock(builder(), 1, 2, 1).forward(ones([1, 1, 1, 1]).mul(3)).toNumbers()).toEqual([3, 3]);
  }));

it('attends over all positions, scores divided by the root of the width', () =>
  scope(() => {
    const y = new AttentionBlock(builder(), 1, 1).forward(tensor([[[[1, -1]]]])).toNumbers();
    // norm gives ±1; scores ±1 at width 1; softmax of (1, -1) and (-1, 1).
    const share = Math.exp(1) / (Math.exp(1) + Math.exp(-1));
    expect(y[0]).toBeCloseTo(1 + (2 * share - 1), 5);
    expect(y[1]).toBeCloseTo(-1 - (2 * share - 1), 5);
    // At width 2 with all weights one, q = k = 2·(±1): scores ±8, divided by √2.
    const wide = new AttentionBlock(builder(), 2, 1).forward(tensor([[[[1, -1]], [[1, -1]]]])).toNumbers();
    const twice = 2 / (1 + Math.exp((-2 * 8) / Math.SQRT2)) - 1;
    expect(wide[0]).toBeCloseTo(1 + 4 * twice, 4);
  }));
