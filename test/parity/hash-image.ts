/** The manifests' rule `hash-image`: a picture of known slopes with salted-hash noise, so that no picture need be stored. */

import type { Json, Reference } from './golden-set.ts';

interface HashImageRule {
  coefficients: { x: number; y: number; channel: number };
  product: { floorDivide: number };
  modulus: number;
  noiseLevels: number;
  uniform: string;
}

export interface SaltedHashRule {
  saltMultiplier: number;
  mix: { xorShiftRight?: number; multiply?: number }[];
}

/** uint8 [Y, X, 3] of `reference.imageRule` with its height, width and salt. */
export function hashImage(reference: Reference, rules: Record<string, Json>): { shape: number[]; data: Uint8Array } {
  const { imageRule, height = 0, width = 0, salt = 0 } = reference;
  const rule = rules[imageRule!] as unknown as HashImageRule;
  const uniform = rules[rule.uniform] as unknown as SaltedHashRule;
  const { x: ofX, y: ofY, channel: ofChannel } = rule.coefficients;
  const data = new Uint8Array(height * width * 3);
  for (let i = 0; i < data.length; i++) {
    const channel = i % 3;
    const x = Math.floor(i / 3) % width;
    const y = Math.floor(i / 3 / width);
    const slopes = ofX * x + ofY * y + ofChannel * channel + Math.floor((x * y) / rule.product.floorDivide);
    const noise = Math.floor((rule.noiseLevels * saltedHash(i, Number(salt), uniform)) / 2 ** 32);
    data[i] = (slopes % rule.modulus) + noise;
  }
  return { shape: [height, width, 3], data };
}

/** 32 bits of (index, salt). */
export function saltedHash(index: number, salt: number, rule: SaltedHashRule): number {
  let h = (index + Math.imul(salt, rule.saltMultiplier)) >>> 0;
  for (const { xorShiftRight, multiply } of rule.mix) {
    h = (xorShiftRight === undefined ? Math.imul(h, multiply!) : h ^ (h >>> xorShiftRight)) >>> 0;
  }
  return h;
}
