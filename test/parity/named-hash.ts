/**
 * The manifests' rule `named-hash`: weights as a hash of (name, index), so that full-size networks need no weight file.
 * Everything is 32-bit arithmetic on Math.imul; a tensor of ten million numbers takes a fraction of a second.
 */

import type { Json } from './golden-set.ts';

type Mix = readonly { xorShiftRight?: number; multiply?: number }[];

interface ValueRule {
  nameContains?: string;
  nameSuffix?: string;
  minDims?: number;
  /** Which formula of u in [0, 1) and v = 2u - 1. */
  value: string;
  scale?: number;
  offset?: number;
  constant?: number;
  dtype?: string;
}

interface NamedHashRule {
  type: string;
  salt: string;
  gain: number;
  hash: { offset: number; prime: number; text: string };
  indexMultiplier: number;
  mix: Mix;
  modulus: number;
  valueRules: readonly ValueRule[];
}

export interface RuleTensor {
  shape: readonly number[];
  data: Float32Array | BigInt64Array;
}

/** The tensor of `name` by the rule; with `count`, only its first values. */
export function namedHash(
  rules: Record<string, Json>,
  ruleName: string,
  name: string,
  shape: readonly number[],
  count?: number,
): RuleTensor {
  const rule = rules[ruleName] as unknown as NamedHashRule | undefined;
  if (rule?.type !== 'named-hash') throw new Error(`expected a rule named-hash called ${ruleName}`);
  const valueRule = rule.valueRules.find((candidate) => applies(candidate, name, shape));
  if (valueRule === undefined) throw new Error(`${ruleName}: no value rule for ${name}`);
  const total = count ?? shape.reduce((product, side) => product * side, 1);
  const value = formula(valueRule, rule.gain, shape);
  const seed = fnv1a(rule.hash.text.replace('{salt}', rule.salt).replace('{name}', name), rule.hash);
  const data = valueRule.dtype === 'int64' ? new BigInt64Array(total) : new Float32Array(total);
  for (let i = 0; i < total; i++) {
    const u = mixed((seed + Math.imul(i, rule.indexMultiplier)) >>> 0, rule.mix) / rule.modulus;
    const number = value(u);
    data[i] = data instanceof BigInt64Array ? BigInt(number) : number;
  }
  return { shape: count === undefined ? shape : [total], data };
}

function applies({ nameContains, nameSuffix, minDims }: ValueRule, name: string, shape: readonly number[]): boolean {
  if (nameContains !== undefined && !name.includes(nameContains)) return false;
  if (nameSuffix !== undefined && !name.endsWith(nameSuffix)) return false;
  return minDims === undefined || shape.length >= minDims;
}

function formula(rule: ValueRule, gain: number, shape: readonly number[]): (u: number) => number {
  const { scale = 0, offset = 0, constant = 0 } = rule;
  switch (rule.value) {
    case 'constant':
      return () => constant;
    case 'v*scale':
      return (u) => (2 * u - 1) * scale;
    case 'offset+scale*v':
      return (u) => offset + scale * (2 * u - 1);
    case 'offset+scale*u':
      return (u) => offset + scale * u;
    case 'v*gain*sqrt(3/fanIn)': {
      const factor = Math.sqrt(3 / shape.slice(1).reduce((product, side) => product * side, 1));
      return (u) => (2 * u - 1) * gain * factor;
    }
    default:
      throw new Error(`a formula that is not known: ${rule.value}`);
  }
}

function fnv1a(text: string, { offset, prime }: { offset: number; prime: number }): number {
  let hash = offset;
  for (const byte of new TextEncoder().encode(text)) hash = Math.imul(hash ^ byte, prime) >>> 0;
  return hash;
}

function mixed(word: number, mix: Mix): number {
  let h = word;
  for (const { xorShiftRight, multiply } of mix) {
    h = (xorShiftRight === undefined ? Math.imul(h, multiply!) : h ^ (h >>> xorShiftRight)) >>> 0;
  }
  return h;
}
