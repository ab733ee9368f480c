import { describe, expect, it } from 'vitest';
import { DrawPurpose, Draws } from './draws.ts';
import { NoisePurpose, noiseBits } from './noise.ts';
import { philox4x32 } from './philox.ts';

function moments(n: number, draw: () => number): { mean: number; variance: number } {
  const values = Array.from({ length: n }, draw);
  const mean = values.reduce((a, b) => a + b, 0) / n;
  return { mean, variance: values.reduce((a, b) => a + (b - mean) ** 2, 0) / n };
}

describe('Draws', () => {
  it('reads its words from the documented counter and key', () => {
    const draws = new Draws(2 ** 40 + 5, 7, 3, 2);
    const out = new Uint32Array(8);
    philox4x32(out, 0, 0, 3, 7, 2, 5, 256 + 2 ** 31);
    philox4x32(out, 4, 1, 3, 7, 2, 5, 256 + 2 ** 31);
    expect(Array.from({ length: 8 }, () => draws.word())).toEqual(Array.from(out));
  });

  it('depends on every argument, and not on the noise of sampling', () => {
    const first = (...a: [number, number, number, number]) => new Draws(...a).word();
    const words = [first(1, 0, 0, 0), first(2, 0, 0, 0), first(1, 1, 0, 0), first(1, 0, 1, 0), first(1, 0, 0, 1)];
    words.push(first(1 + 2 ** 32, 0, 0, 0));
    words.push(
      noiseBits({ seed: 1, imageIndex: 0, step: 0, position: 0, code: 0, purpose: NoisePurpose.SAMPLE }),
      first(1, 0, 0, DrawPurpose.MASK_POSITIONS + 100),
    );
    expect(new Set(words).size).toBe(words.length);
    expect(first(1, 0, 0, 0)).toBe(words[0]);
  });

  it('draws integers evenly', () => {
    const draws = new Draws(1, 0, 0, 0);
    const counts = [0, 0, 0, 0, 0, 0, 0];
    for (let i = 0; i < 70000; i++) counts[draws.integer(7)]! += 1;
    for (const count of counts) expect(Math.abs(count - 10000)).toBeLessThan(400); // over four standard deviations
    expect(draws.integer(1)).toBe(0);
    expect(draws.integer(2 ** 32)).toBeLessThan(2 ** 32);
  });

  it('rejects the words that would bias a bound near 2^32', () => {
    // With n = 3 * 2^30 a plain modulo would put half of all draws into the lowest third.
    const draws = new Draws(5, 0, 0, 0);
    let low = 0;
    for (let i = 0; i < 9000; i++) if (draws.integer(3 * 2 ** 30) < 2 ** 30) low += 1;
    expect(Math.abs(low - 3000)).toBeLessThan(180);
  });

  it('draws normals and gammas with the right moments', () => {
    const draws = new Draws(1, 2, 3, 4);
    const normal = moments(40000, () => draws.normal());
    expect(Math.abs(normal.mean)).toBeLessThan(0.02);
    expect(Math.abs(normal.variance - 1)).toBeLessThan(0.03);
    for (const alpha of [0.3, 1, 3, 12]) {
      const gamma = moments(40000, () => draws.gamma(alpha));
      expect(Math.abs(gamma.mean / alpha - 1)).toBeLessThan(0.04);
      expect(Math.abs(gamma.variance / alpha - 1)).toBeLessThan(0.08);
    }
  });

  it('draws Beta(12, 3) and Beta(0.5, 0.5) with the right moments', () => {
    const draws = new Draws(9, 0, 0, DrawPurpose.MASK_RATIO);
    const masked = moments(20000, () => draws.beta(12, 3));
    expect(masked.mean).toBeCloseTo(0.8, 2);
    expect(masked.variance).toBeCloseTo(0.01, 3); // ab / ((a+b)^2 (a+b+1)) = 36 / (225 * 16)
    const arcsine = moments(20000, () => draws.beta(0.5, 0.5));
    expect(Math.abs(arcsine.mean - 0.5)).toBeLessThan(0.012);
    expect(Math.abs(arcsine.variance - 0.125)).toBeLessThan(0.004);
  });

  it('tosses coins with the asked probability', () => {
    const draws = new Draws(4, 0, 0, 0);
    let heads = 0;
    for (let i = 0; i < 20000; i++) if (draws.coin(0.15)) heads += 1;
    expect(Math.abs(heads / 20000 - 0.15)).toBeLessThan(0.011);
    expect(draws.coin(0)).toBe(false);
    expect(draws.coin(1)).toBe(true);
  });

  it('permutes: every item once, every place equally often', () => {
    const order = new Draws(1, 0, 0, 1).permutation(1000);
    expect(Array.from(order).sort((a, b) => a - b)).toEqual([...Array(1000).keys()]);
    const seen = new Map<string, number>();
    for (let step = 0; step < 6000; step++) {
      const key = new Draws(1, step, 0, 1).permutation(3).join();
      seen.set(key, (seen.get(key) ?? 0) + 1);
    }
    expect(seen.size).toBe(6);
    for (const count of seen.values()) expect(Math.abs(count - 1000)).toBeLessThan(120);
    expect(new Draws(1, 0, 0, 1).permutation(0).length).toBe(0);
  });

  it('keeps its golden values', () => {
    const draws = new Draws(1234, 5, 6, 0);
    expect([draws.uniform(), draws.integer(100), draws.normal(), draws.beta(12, 3)]).toMatchInlineSnapshot(`
      [
        0.22007502021733671,
        39,
        0.019806947169466533,
        0.8197817357227005,
      ]
    `);
  });

  it.each([
    () => new Draws(-1, 0, 0, 0),
    () => new Draws(0, 2 ** 32, 0, 0),
    () => new Draws(0, 0, 0.5, 0),
    () => new Draws(0, 0, 0, 0).integer(0),
    () => new Draws(0, 0, 0, 0).coin(1.1),
    () => new Draws(0, 0, 0, 0).gamma(0),
    () => new Draws(0, 0, 0, 0).beta(1, Number.NaN),
    () => new Draws(0, 0, 0, 0).permutation(-1),
  ])('refuses bad arguments: %s', (make) => {
    expect(make).toThrow(/^Expected .* to be an? .*got/);
  });
});
