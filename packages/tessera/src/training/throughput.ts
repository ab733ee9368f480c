/**
 * How fast a run goes and how long it still takes. Step times are averaged exponentially, so that the rate follows a
 * machine whose load changes; the time left also counts what happens between steps (evaluation, samples, checkpoints),
 * by its share so far.
 */

/** Steps after which an old step time weighs 1/e. */
const WINDOW = 50;

export class Throughput {
  private weighted = 0;
  private weight = 0;
  private inSteps = 0;
  private between = 0;

  /** seconds — of one optimizer step. */
  recordStep(seconds: number): void {
    const decay = Math.exp(-1 / WINDOW);
    this.weighted = this.weighted * decay + seconds;
    this.weight = this.weight * decay + 1;
    this.inSteps += seconds;
  }

  /** seconds — spent between two steps. */
  recordPause(seconds: number): void {
    this.between += seconds;
  }

  /** 0 before the first step. */
  itemsPerSecond(itemsPerStep: number): number {
    return this.weighted === 0 ? 0 : (itemsPerStep * this.weight) / this.weighted;
  }

  /** Infinity before the first step. */
  secondsLeft(stepsLeft: number): number {
    if (stepsLeft === 0) return 0;
    if (this.weight === 0) return Number.POSITIVE_INFINITY;
    return stepsLeft * (this.weighted / this.weight) * ((this.inSteps + this.between) / this.inSteps);
  }
}
