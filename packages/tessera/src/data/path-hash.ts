/**
 * A hash of names that decides who is held out. It depends on the name alone, so a split stays the same when files are
 * added, on another machine and in another run; the avalanche step makes neighbours (img_001, img_002) independent.
 *
 * FNV-1a over the UTF-8 bytes, then the 32-bit finalizer of MurmurHash3 (both public domain constants).
 */

/** Uniform in [0, 1), a multiple of 2^-32, from a name and an integer seed. */
export function unitHash(name: string, seed = 0): number {
  let h = (0x811c9dc5 ^ Math.imul(seed | 0, 0x9e3779b1)) >>> 0;
  for (const byte of new TextEncoder().encode(name)) h = Math.imul(h ^ byte, 0x01000193);
  h ^= h >>> 16;
  h = Math.imul(h, 0x85ebca6b);
  h ^= h >>> 13;
  h = Math.imul(h, 0xc2b2ae35);
  h ^= h >>> 16;
  return (h >>> 0) / 2 ** 32;
}
