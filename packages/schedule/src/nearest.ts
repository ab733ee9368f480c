/**
 * The nearest of a list of words: "unknown key x; did you mean y?".
 *
 * Distance: the fewest insertions, deletions, replacements and swaps of neighbours (optimal string
 * alignment), letter case and the separators - and _ ignored, so that `guidance_scale` finds
 * `guidanceScale`. A word is only suggested when less than half of it would have to change.
 */

/** Longer words are not compared: the table grows with the product of the lengths. */
const MAX_LENGTH = 64;

/** The candidate nearest to `word`, the first of equals, or undefined when none is near enough. */
export function nearest(word: string, candidates: readonly string[]): string | undefined {
  if (word.length > MAX_LENGTH) return undefined;
  const plainWord = plain(word);
  let best: string | undefined;
  let bestDistance = Number.POSITIVE_INFINITY;
  for (const candidate of candidates) {
    if (candidate.length > MAX_LENGTH) continue;
    const other = plain(candidate);
    const distance = editDistance(plainWord, other);
    if (distance < bestDistance && distance * 2 < Math.max(plainWord.length, other.length)) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}

/** Insertions, deletions, replacements and swaps of neighbours that turn `a` into `b`. */
export function editDistance(a: string, b: string): number {
  let beforeLast: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1];
      let cost = Math.min(last[j]! + 1, row[j - 1]! + 1, last[j - 1]! + (same ? 0 : 1));
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        cost = Math.min(cost, beforeLast[j - 2]! + 1);
      }
      row.push(cost);
    }
    beforeLast = last;
    last = row;
  }
  return last[b.length]!;
}

function plain(word: string): string {
  return word.toLowerCase().replaceAll('-', '').replaceAll('_', '');
}
