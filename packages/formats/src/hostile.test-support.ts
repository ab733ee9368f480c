/**
 * What every reader here must survive, as test helpers: files cut at every byte and files damaged at random but
 * reproducible places. Only a `FormatError` may come out.
 */
import { expect } from 'vitest';
import { FormatError } from './format-error.ts';

/** Runs `read` and returns the code of its FormatError, or undefined if it succeeded; other errors fail the test. */
export function codeOf(read: () => unknown): string | undefined {
  try {
    read();
    return undefined;
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    expect(error.code).toMatch(/^[a-z0-9]+\.[a-z0-9-]+$/);
    expect(error.message).toContain(error.file);
    return error.code;
  }
}

/** Each proper prefix of `bytes` must be refused, unless listed in `fine`. */
export function expectTruncationsRefused(
  bytes: Uint8Array,
  read: (cut: Uint8Array) => unknown,
  fine: number[] = [],
): void {
  for (let length = 0; length < bytes.byteLength; length++) {
    if (fine.includes(length)) continue;
    const code = codeOf(() => read(bytes.slice(0, length)));
    if (code === undefined) throw new Error(`the first ${length} of ${bytes.byteLength} bytes were accepted`);
  }
}

/** `count` damaged variants of `bytes`, from seed 1 up: each must be read or refused by a FormatError. */
export function expectDamageSurvived(bytes: Uint8Array, read: (damaged: Uint8Array) => unknown, count = 400): void {
  for (let seed = 1; seed <= count; seed++) {
    const damaged = damage(bytes, seed);
    try {
      codeOf(() => read(damaged));
    } catch (cause) {
      throw new Error(`damage of seed ${seed} was neither read nor refused by a FormatError`, { cause });
    }
  }
}

/** A copy with one to four small wounds: flipped bits, extreme values, copied, cut or repeated stretches. */
export function damage(bytes: Uint8Array, seed: number): Uint8Array {
  const random = makeRandom(seed);
  const below = (limit: number) => Math.floor(random() * limit);
  let out = bytes.slice();
  for (let wound = 0; wound <= below(4); wound++) {
    const at = below(out.length);
    const kind = below(6);
    if (kind === 0) out[at]! ^= 1 << below(8);
    else if (kind === 1) out[at] = [0, 1, 0x7f, 0x80, 0xff, 0x28, 0x2e, 0x52][below(8)]!;
    else if (kind === 2) out.fill(below(2) * 255, at, at + 1 + below(8));
    else if (kind === 3) out.copyWithin(below(out.length), at, at + 1 + below(32));
    else if (kind === 4) out = Uint8Array.from([...out.subarray(0, at), ...out.subarray(at + 1 + below(16))]);
    else out = Uint8Array.from([...out.subarray(0, at + 1 + below(16)), ...out.subarray(at)]);
    if (out.length === 0) return out;
  }
  return out;
}

/** mulberry32: uniform in [0, 1). */
export function makeRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
