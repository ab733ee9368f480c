import { describe, expect, it } from 'vitest';
import { philox4x32 } from './philox.ts';

const hex = (words: Uint32Array) => Array.from(words, (w) => w.toString(16).padStart(8, '0')).join(' ');

function block(counter: [number, number, number, number], key: [number, number]): Uint32Array {
  const out = new Uint32Array(4);
  philox4x32(out, 0, ...counter, ...key);
  return out;
}

describe('philox4x32', () => {
  it('gives the three published known answers', () => {
    expect(hex(block([0, 0, 0, 0], [0, 0]))).toBe('6627e8d5 e169c58d bc57ac4c 9b00dbd8');
    const ones = 0xffffffff;
    expect(hex(block([ones, ones, ones, ones], [ones, ones]))).toBe('408f276d 41c83b0e a20bc7c6 6d5451fd');
    const pi = block([0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], [0xa4093822, 0x299f31d0]);
    expect(hex(pi)).toBe('d16cfe09 94fdcceb 5001e420 24126ea1');
  });

  it('writes only its four words, at the offset', () => {
    const out = new Uint32Array(7).fill(7);
    philox4x32(out, 2, 0, 0, 0, 0, 0, 0);
    expect(hex(out)).toBe('00000007 00000007 6627e8d5 e169c58d bc57ac4c 9b00dbd8 00000007');
  });

  it('agrees with exact integer arithmetic on many blocks', () => {
    const mask = 0xffffffffn;
    const reference = (c: bigint[], k: bigint[]): string => {
      let [x0, x1, x2, x3] = c as [bigint, bigint, bigint, bigint];
      let [k0, k1] = k as [bigint, bigint];
      for (let round = 0; round < 10; round++) {
        const p0 = x0 * 0xd2511f53n;
        const p1 = x2 * 0xcd9e8d57n;
        [x0, x1, x2, x3] = [(p1 >> 32n) ^ x1 ^ k0, p1 & mask, (p0 >> 32n) ^ x3 ^ k1, p0 & mask];
        k0 = (k0 + 0x9e3779b9n) & mask;
        k1 = (k1 + 0xbb67ae85n) & mask;
      }
      return [x0, x1, x2, x3].map((x) => x.toString(16).padStart(8, '0')).join(' ');
    };
    let words = new Uint32Array([1, 2, 3, 4]);
    for (let i = 0; i < 500; i++) {
      const c = Array.from(words) as [number, number, number, number];
      const k: [number, number] = [(c[0] ^ 0x55555555) >>> 0, Math.imul(c[3], 0x10001) >>> 0];
      words = block(c, k) as Uint32Array<ArrayBuffer>;
      expect(hex(words)).toBe(reference(c.map(BigInt), k.map(BigInt)));
    }
  });
});
