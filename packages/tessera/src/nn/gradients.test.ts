import { scope, tensor } from '@tessera/torch';
import { expect, test } from 'vitest';
import { clipByNorm, globalNorm, gradientsOf } from './gradients.ts';

test('the norm is over all entries of all gradients, and clipping makes it the limit', () => {
  scope(() => {
    const gradients = [tensor([3, 0]), tensor([[4], [12]])];
    const norm = globalNorm(gradients);
    expect(norm).toBe(13);
    clipByNorm(gradients, norm, 26);
    expect(globalNorm(gradients)).toBe(13);
    clipByNorm(gradients, norm, 6.5);
    expect(globalNorm(gradients)).toBeCloseTo(6.5, 5);
    expect(gradients[1]!.toNumbers()[1]).toBeCloseTo(6, 5);
  });
});

test('a NaN or an infinity anywhere shows in the norm', () => {
  scope(() => {
    expect(globalNorm([tensor([1]), tensor([Number.NaN])])).toBeNaN();
    expect(globalNorm([tensor([1]), tensor([Number.NEGATIVE_INFINITY])])).toBe(Number.POSITIVE_INFINITY);
    expect(globalNorm([])).toBe(0);
  });
});

test('parameters without a gradient are left out', () => {
  scope(() => {
    const used = tensor([2]).requiresGrad_();
    const idle = tensor([2]).requiresGrad_();
    used.mul(used).sum().backward();
    expect(gradientsOf([used, idle]).map((gradient) => gradient.item())).toEqual([4]);
  });
});
