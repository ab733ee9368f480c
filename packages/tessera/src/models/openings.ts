/**
 * What a masked model says while nothing is known. With every token masked the logits depend on the class alone, not on image, noise or
 * strategy, so whoever draws many images with fixed weights needs them once a class: at T steps that is one step in T less. The originals
 * compute them for every image.
 *
 * Shapes: L tokens, V codes.
 */

import { keep, scope, stack, type Tensor } from '@tessera/torch';

/** Logits kept at most, 1 GiB of float32: room for ImageNet's classes at 256 tokens of 1,024 codes. */
const DEFAULT_NUMBERS = 2 ** 28;

export class Openings {
  private readonly maxNumbers: number;
  /** [L, V] by label; what was asked for least recently comes first. */
  private readonly kept = new Map<number, Tensor>();
  private numbers = 0;

  /** @param maxNumbers logits kept at most after a call; what was asked for least recently goes first */
  constructor(maxNumbers = DEFAULT_NUMBERS) {
    this.maxNumbers = maxNumbers;
  }

  /**
   * Logits of distinct labels, [n, L, V], in the caller's scope.
   *
   * @param run gives those of one label, [1, L, V]: always one row, so that they are the same bits whatever was asked for before
   */
  logitsOf(labels: readonly number[], run: (label: number) => Tensor): Tensor {
    const rows = labels.map((label) => {
      const known = this.kept.get(label) ?? this.made(label, run);
      this.kept.delete(label);
      this.kept.set(label, known);
      return known;
    });
    const logits = stack(rows);
    for (const [label, row] of this.kept) {
      if (this.numbers <= this.maxNumbers) break;
      this.kept.delete(label);
      this.numbers -= row.numel;
      row.dispose();
    }
    return logits;
  }

  dispose(): void {
    for (const row of this.kept.values()) row.dispose();
    this.kept.clear();
    this.numbers = 0;
  }

  private made(label: number, run: (label: number) => Tensor): Tensor {
    const row = scope(() => keep(run(label).select(0, 0).contiguous()));
    this.numbers += row.numel;
    return row;
  }
}

/** Labels without repetition, in the order in which they first stand, and where among those each one is. */
export function distinctLabels(labels: readonly number[]): { classes: number[]; places: number[] } {
  const classes = [...new Set(labels)];
  return { classes, places: labels.map((label) => classes.indexOf(label)) };
}
