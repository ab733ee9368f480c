import { fromTypedArray, noGrad, scope, type Tensor, tensor } from '@tessera/torch';
import { describe, expect, it } from 'vitest';
import { initialise, ParameterBuilder } from '../nn/module.ts';
import { VectorQuantizer } from './quantizer.ts';
import { vqPreset } from './vq-config.ts';

const BASE = { codebookSize: 3, codeDim: 2, l2Norm: false, commitBeta: 0.25, entropyRatio: 0, usageFifo: 0 };

function quantizer(table: number[][], changes: Partial<typeof BASE> = {}): VectorQuantizer {
  const take = (name: string, shape: readonly number[]): Tensor =>
    name === 'embedding.weight' ? tensor(table) : tensor([0]).expand(shape).clone();
  return new VectorQuantizer(new ParameterBuilder({ take }), { ...BASE, codebookSize: table.length, ...changes });
}

/** Positions [n, 2] as a latent [1, 2, 1, n]. */
function latentOf(positions: number[][]): Tensor {
  return tensor(positions).t().contiguous().view([1, 2, 1, positions.length]);
}

describe('VectorQuantizer', () => {
  it('takes the nearest code, and of equals the lowest', () =>
    scope(() => {
      const q = quantizer([[1, 0], [0, 1], [0, 1], [-1, 0]]); // biome-ignore format: a table
      expect(q.tokens(latentOf([[0.1, 0.9], [0.8, 0.1], [0.5, 0.5], [-3, 0]])).toNumbers()).toEqual([1, 0, 0, 3]); // biome-ignore format: a table
    }));

  it('measures both losses on all entries and stops their gradients apart', () =>
    scope(() => {
      const q = quantizer([[1, 0], [0, 1], [9, 9]]); // biome-ignore format: a table
      q.table.requiresGrad_();
      const latent = latentOf([[0.5, 0], [0, 3]]).requiresGrad_(); // biome-ignore format: a table
      const { losses } = q.quantize(latent);
      // Squared differences 0.25, 0, 0, 4 over four entries.
      expect(losses.codebook.item()).toBeCloseTo(4.25 / 4, 6);
      expect(losses.commitment.item()).toBeCloseTo((0.25 * 4.25) / 4, 6);
      losses.codebook.backward();
      expect(latent.grad).toBeUndefined();
      expect(q.table.grad!.toNumbers()).toEqual([0.25, 0, 0, -1, 0, 0]); // 2 (e - z) / 4
      q.table.grad = undefined;
      losses.commitment.backward();
      expect(q.table.grad).toBeUndefined();
      expect(latent.grad!.toNumbers()).toEqual([-0.0625, 0, 0, 0.25]); // β · 2 (z - e) / 4, as [2, n]
    }));

  it('gives codes forwards and passes the gradient straight through', () =>
    scope(() => {
      const q = quantizer([[1, 0], [0, 1]]); // biome-ignore format: a table
      const latent = latentOf([[0.7, 0.1], [0.2, 0.9]]).requiresGrad_(); // biome-ignore format: a table
      const { quantized } = q.quantize(latent);
      for (const [i, value] of [1, 0, 0, 1].entries()) expect(quantized.flatten().toNumbers()[i]).toBeCloseTo(value, 6);
      quantized.backward(tensor([1, 2, 3, 4]).view([1, 2, 1, 2]));
      expect(latent.grad!.flatten().toNumbers()).toEqual([1, 2, 3, 4]);
    }));

  it('compares directions with l2Norm and looks up unit codes', () =>
    scope(() => {
      const q = quantizer([[0.1, 0], [0, 50]], { l2Norm: true }); // biome-ignore format: a table
      const latent = latentOf([[7, 1], [0.1, 0.2]]); // biome-ignore format: a table
      const tokens = q.tokens(latent);
      expect(tokens.toNumbers()).toEqual([0, 1]);
      expect(q.lookUp(tokens, 1, 2).toNumbers()).toEqual([1, 0, 0, 1]);
    }));

  it('starts with unit rows where lengths do not count', () =>
    scope(() => {
      const { table } = initialise((p) => {
        const q = new VectorQuantizer(p, vqPreset('vq-small', { l2Norm: true }));
        return Object.assign(q, { state: p.state }) as never;
      }) as unknown as VectorQuantizer;
      for (const length of table.square().sum([1]).toNumbers()) expect(length).toBeCloseTo(1, 5);
    }));

  it('counts distinct codes among the last tokens, the zeros of the start included', () =>
    scope(() =>
      noGrad(() => {
        const q = quantizer([[0, 0], [1, 0], [2, 0], [3, 0]], { usageFifo: 4 }); // biome-ignore format: a table
        const ids = (...values: number[]): Tensor => fromTypedArray(BigInt64Array.from(values, BigInt));
        expect(q.recordUsage(ids(3, 3))!.item()).toBe(0.5); // 0 0 3 3
        expect(q.recordUsage(ids(1, 2))!.item()).toBe(0.75); // 3 3 1 2
        expect(q.recordUsage(ids(0, 0, 0, 0, 2, 2))!.item()).toBe(0.5); // 0 0 2 2
        expect(quantizer([[0, 0]]).recordUsage(ids(0))).toBeUndefined();
      }),
    ));

  it('assigns rows with their distances', () =>
    scope(() => {
      const q = quantizer([[1, 0], [0, 1]]); // biome-ignore format: a table
      const { rows, tokens, squaredDistances } = q.assign([latentOf([[1, 2]]), latentOf([[0, 1]])]);
      expect(rows.toNumbers()).toEqual([1, 2, 0, 1]);
      expect(tokens.toNumbers()).toEqual([1, 1]);
      expect(squaredDistances.toNumbers()).toEqual([2, 0]);
    }));
});
