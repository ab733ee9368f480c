/** Some of many, spread over all of them: data lies class by class, and its first items are of one class. */

/** The indices of at most `count` of `total` items, ascending: floor(i · total / count). */
export function evenly(total: number, count: number): number[] {
  const some = Math.min(total, count);
  return Array.from({ length: some }, (_, i) => Math.floor((i * total) / some));
}
