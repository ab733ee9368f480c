/**
 * How a search method talks to the rest. A method is a generator: it yields a batch of candidates, gets their values, and
 * goes on. All that it knows follows from its settings and the values told so far, so those values are its whole state:
 * a killed search is made anew and told them again, which costs nothing beside an evaluation.
 */

import { SearchError } from './search-error.ts';

/** A box of points with a place to begin. All lists — [n]. */
export interface Space {
  /** Such as `ratios[0]`. */
  names: readonly string[];
  start: readonly number[];
  lower: readonly number[];
  /** May be Infinity. */
  upper: readonly number[];
  /** A step worth trying at first, > 0. */
  scale: readonly number[];
}

export interface Candidate {
  /** Where in the method it belongs, such as `stp_3`. */
  phase: string;
  /** [n], within the bounds. */
  point: readonly number[];
  /** Of the images of a whole evaluation, in (0, 1]. Values of different shares are not compared. */
  share: number;
}

/** Lower values are better. */
export type Method = Generator<readonly Candidate[], void, readonly number[]>;

/** Asks a method for candidates and tells it their values. */
export class AskTell {
  private readonly method: Method;
  private readonly values: number[] = [];
  private batch: readonly Candidate[] | undefined;

  constructor(method: Method) {
    this.method = method;
    this.take(method.next());
  }

  /** A method that has been told these values already, in the order of its candidates; whole batches only. */
  static resume(method: Method, told: readonly number[]): AskTell {
    const run = new AskTell(method);
    for (let at = 0; at < told.length; ) {
      const size = run.ask().length;
      run.tell(told.slice(at, at + size));
      at += size;
    }
    return run;
  }

  /** True once the method has nothing more to try. */
  get isDone(): boolean {
    return this.batch === undefined;
  }

  /** All that was told: the state of the search. */
  get told(): readonly number[] {
    return this.values;
  }

  /** The candidates whose values are wanted next; the same until they are told. */
  ask(): readonly Candidate[] {
    if (this.batch !== undefined) return this.batch;
    throw new SearchError('SEARCH_RECORD', 'The search has ended: there are more values than it asked for.');
  }

  /** @param values one a candidate of the last batch, in its order */
  tell(values: readonly number[]): void {
    const { length } = this.ask();
    if (values.length !== length) {
      throw new SearchError(
        'SEARCH_RECORD',
        `Expected ${length} values for ${length} candidates, got ${values.length}.`,
      );
    }
    this.values.push(...values);
    this.take(this.method.next(values));
  }

  private take(result: IteratorResult<readonly Candidate[], void>): void {
    this.batch = result.done === true ? undefined : result.value;
  }
}

/** Refuses a box without points, and a start outside of it. */
export function checkSpace({ names, start, lower, upper, scale }: Space): void {
  for (const [i, name] of names.entries()) {
    if (!(lower[i]! <= upper[i]!)) {
      throw new SearchError(
        'SEARCH_BOUNDS',
        `${name}: expected a lower bound below the upper one, got ${lower[i]} and ${upper[i]}.`,
      );
    }
    if (!(start[i]! >= lower[i]! && start[i]! <= upper[i]!)) {
      throw new SearchError(
        'SEARCH_BOUNDS',
        `${name}: the start ${start[i]} is not within ${lower[i]} and ${upper[i]}.`,
      );
    }
    if (!(scale[i]! > 0)) throw new SearchError('SEARCH_BOUNDS', `${name}: expected a step above 0, got ${scale[i]}.`);
  }
}

export function clampTo({ lower, upper }: Pick<Space, 'lower' | 'upper'>, point: readonly number[]): number[] {
  return point.map((x, i) => Math.min(upper[i]!, Math.max(lower[i]!, x)));
}

/** A point that is given as steps from the start, in units of the scale. */
export function pointAt(space: Omit<Space, 'names'>, steps: readonly number[]): number[] {
  return clampTo(
    space,
    steps.map((step, i) => space.start[i]! + step * space.scale[i]!),
  );
}

export function stepsTo({ start, scale }: Pick<Space, 'start' | 'scale'>, point: readonly number[]): number[] {
  return point.map((x, i) => (x - start[i]!) / scale[i]!);
}
