import type { Tokenizer } from './tokenizer.ts';

/** Pixels of a side that a tokenizer is for: 8×8 tokens of the narrow ones of small pictures, 256 of the published ones. */
export function usualSize({ downsampleFactor, config }: Pick<Tokenizer, 'downsampleFactor' | 'config'>): number {
  return Number(config.channels) < 64 ? 8 * downsampleFactor : 256;
}
