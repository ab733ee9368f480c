/**
 * Comparison by the manifests' rules: equal in every entry where `exact`, else |a − b| ≤ abs + rel · |b| (or · max|b|)
 * for at least minFraction of the entries and none further off than hardAbs; equal infinities and NaNs pass.
 */

import { Tensor } from '@tessera/torch';
import type { Json, Reference, Tolerance } from './golden-set.ts';
import type { GoldenArray, GoldenValue } from './golden-value.ts';

/** What a runner returns for a role. */
export type Output = Tensor | Map<string, Output> | Json;

/** Lines that say what differs; empty when it agrees. `reference` carries the rule. */
export function differences(role: string, got: Output | undefined, want: GoldenValue, reference: Reference): string[] {
  if (got === undefined) return [`${role}: the runner gave no such output`];
  const rule: Rule = reference.exact === true ? 'exact' : (reference.tolerance ?? 'exact');
  const pairs: Pair[] = [];
  const problems: string[] = [];
  collect(role, got, want, pairs, problems);
  return [...problems, ...judge(role, pairs, rule)];
}

type Rule = 'exact' | Tolerance;

interface Pair {
  place: string;
  got: ArrayLike<number>;
  want: ArrayLike<number>;
}

function collect(place: string, got: Output, want: GoldenValue, pairs: Pair[], problems: string[]): void {
  switch (want.kind) {
    case 'array':
      collectArray(place, got, want.array, pairs, problems);
      return;
    case 'map':
      if (!(got instanceof Map)) {
        problems.push(`${place}: expected several values, got one`);
        return;
      }
      for (const [key, value] of want.map) {
        const item = got.get(key);
        if (item === undefined) problems.push(`${place}.${key}: missing`);
        else collect(`${place}.${key}`, item, value, pairs, problems);
      }
      return;
    case 'json':
      collectJson(place, got, want.json, pairs, problems);
      return;
    default:
      want satisfies never;
  }
}

function collectArray(place: string, got: Output, want: GoldenArray, pairs: Pair[], problems: string[]): void {
  const values = got instanceof Tensor ? got.toNumbers() : numbersIn(got);
  const count = want.shape.reduce((product, side) => product * side, 1);
  if (values.length !== count) problems.push(`${place}: expected [${want.shape}], got ${values.length} values`);
  else pairs.push({ place, got: values, want: want.values });
}

function collectJson(place: string, got: Output, want: Json, pairs: Pair[], problems: string[]): void {
  const plain = got instanceof Tensor ? got.toNumbers() : got;
  if (typeof want === 'number') {
    const value = Array.isArray(plain) && plain.length === 1 ? plain[0] : plain;
    if (typeof value === 'number') pairs.push({ place, got: [value], want: [want] });
    else problems.push(`${place}: expected a number`);
  } else if (Array.isArray(want)) {
    if (!Array.isArray(plain) || plain.length !== want.length) {
      problems.push(
        `${place}: expected ${want.length} entries, got ${Array.isArray(plain) ? plain.length : 'no list'}`,
      );
    } else for (const [i, item] of want.entries()) collectJson(`${place}[${i}]`, plain[i]!, item, pairs, problems);
  } else if (typeof want === 'object' && want !== null) {
    for (const [key, item] of Object.entries(want)) {
      const inner = plain instanceof Map ? plain.get(key) : (plain as Record<string, Json>)[key];
      if (inner === undefined) problems.push(`${place}.${key}: missing`);
      else collectJson(`${place}.${key}`, inner, item, pairs, problems);
    }
  } else if (plain !== want) problems.push(`${place}: expected ${String(want)}, got ${String(plain)}`);
  // Equal texts count as an entry that was compared.
  else pairs.push({ place, got: [1], want: [1] });
}

function numbersIn(value: Output): number[] {
  if (typeof value === 'number') return [value];
  if (Array.isArray(value)) return value.flatMap(numbersIn);
  return [];
}

function judge(role: string, pairs: readonly Pair[], rule: Rule): string[] {
  let total = 0;
  let passed = 0;
  let worst = { excess: -1, text: '' };
  for (const { place, got, want } of pairs) {
    const scale = rule !== 'exact' && rule.relTo === 'max' ? largest(want) : undefined;
    for (let i = 0; i < want.length; i++) {
      total++;
      const [a, b] = [got[i]!, want[i]!];
      if (Object.is(a, b) || a === b) {
        passed++;
        continue;
      }
      const allowed = rule === 'exact' ? 0 : (rule.abs ?? 0) + (rule.rel ?? 0) * (scale ?? Math.abs(b));
      const off = Math.abs(a - b);
      if (rule !== 'exact' && rule.hardAbs !== undefined && !(off <= rule.hardAbs)) {
        return [`${place}[${i}]: ${a} is further than ${rule.hardAbs} from ${b}`];
      }
      if (off <= allowed) passed++;
      else if (!(off - allowed <= worst.excess))
        worst = { excess: off - allowed, text: `${place}[${i}]: ${a} for ${b}` };
    }
  }
  const wanted = rule === 'exact' ? 1 : (rule.minFraction ?? 1);
  if (total === 0) return [`${role}: nothing was compared`];
  return passed >= wanted * total ? [] : [`${role}: ${total - passed} of ${total} entries differ, worst ${worst.text}`];
}

function largest(values: ArrayLike<number>): number {
  let most = 0;
  for (let i = 0; i < values.length; i++) most = Math.max(most, Math.abs(values[i]!));
  return most;
}
