// Whole numbers that depend on named sizes: constant + Σ coefficient · size. They are found by fitting the values seen
// at several probe sizes (design rule 2); a fit counts only if it meets every probe exactly, and there is always at
// least one probe more than there are unknowns.

import { RecorderError } from './recorder-error.ts';

/** A value for each named size, such as { B: 2, L: 16 }. */
export type Sizes = Readonly<Record<string, number>>;

export interface Affine {
  readonly constant: number;
  /** By name of the size, no zeros, in the order of the names. */
  readonly coefficients: ReadonlyMap<string, number>;
}

/** A number that is the same at every probe, or one that follows the sizes. */
export type Dimension = number | Affine;

export class AffineFit {
  readonly names: readonly string[];
  private readonly rows: readonly (readonly number[])[]; // [probes][1 + names]
  private readonly chosen: readonly number[]; // rows that determine the coefficients
  private readonly inverse: readonly (readonly number[])[];

  constructor(probes: readonly Sizes[]) {
    this.names = Object.keys(probes[0] ?? {});
    const needed = Math.max(3, this.names.length + 2);
    if (probes.length < needed) {
      throw new RecorderError(
        'PROBES',
        `expected at least ${needed} probes for the sizes ${this.names.join(', ')}, got ${probes.length}`,
      );
    }
    this.rows = probes.map((sizes) => [1, ...this.names.map((name) => checkedSize(sizes, name, this.names.length))]);
    [this.chosen, this.inverse] = independentRows(this.rows, this.names);
  }

  /** The affine function through the values of all probes, in their order; undefined when there is none. */
  fit(values: readonly number[]): Dimension | undefined {
    const [first] = values;
    if (values.every((value) => value === first)) return first;
    const known = this.chosen.map((row) => values[row]!);
    const solution = this.inverse.map((row) => Math.round(dot(row, known)));
    if (!this.rows.every((row, i) => dot(row, solution) === values[i])) return undefined;
    const coefficients = this.names.map((name, i) => [name, solution[i + 1]!] as const);
    return { constant: solution[0]!, coefficients: new Map(coefficients.filter(([, factor]) => factor !== 0)) };
  }
}

export function sumOf(a: Dimension, b: Dimension): Dimension {
  if (typeof a === 'number' && typeof b === 'number') return a + b;
  const [left, right] = [asAffine(a), asAffine(b)];
  const coefficients = new Map(left.coefficients);
  for (const [name, factor] of right.coefficients) coefficients.set(name, (coefficients.get(name) ?? 0) + factor);
  for (const [name, factor] of coefficients) if (factor === 0) coefficients.delete(name);
  const constant = left.constant + right.constant;
  return coefficients.size === 0 ? constant : { constant, coefficients };
}

/** The whole number k with a = k · b, if there is one. */
export function ratioOf(a: Dimension, b: Dimension): number | undefined {
  const [left, right] = [asAffine(a), asAffine(b)];
  const [name] = right.coefficients.keys();
  const ratio =
    name === undefined
      ? left.constant / right.constant
      : (left.coefficients.get(name) ?? 0) / right.coefficients.get(name)!;
  if (!Number.isInteger(ratio) || left.constant !== ratio * right.constant) return undefined;
  const names = new Set([...left.coefficients.keys(), ...right.coefficients.keys()]);
  const same = [...names].every(
    (key) => (left.coefficients.get(key) ?? 0) === ratio * (right.coefficients.get(key) ?? 0),
  );
  return same ? ratio : undefined;
}

/** Such as `2*L+1`: equal texts mean equal functions. */
export function textOf(value: Dimension): string {
  if (typeof value === 'number') return String(value);
  const terms = [...value.coefficients].map(([name, factor]) => (factor === 1 ? name : `${factor}*${name}`));
  if (value.constant !== 0) terms.push(String(value.constant));
  return terms.join('+').replaceAll('+-', '-');
}

function asAffine(value: Dimension): Affine {
  return typeof value === 'number' ? { constant: value, coefficients: new Map() } : value;
}

function checkedSize(sizes: Sizes, name: string, count: number): number {
  const value = sizes[name];
  if (Object.keys(sizes).length === count && value !== undefined && Number.isSafeInteger(value) && value > 0)
    return value;
  throw new RecorderError(
    'PROBES',
    `expected the same named sizes at every probe, whole numbers from 1, got ${JSON.stringify(sizes)}`,
  );
}

function dot(a: readonly number[], b: readonly number[]): number {
  return a.reduce((sum, value, i) => sum + value * b[i]!, 0);
}

/** As many rows as there are columns, and the inverse of the matrix that they make (Gauss-Jordan). */
function independentRows(
  rows: readonly (readonly number[])[],
  names: readonly string[],
): [chosen: number[], inverse: number[][]] {
  const width = names.length + 1;
  const chosen: number[] = [];
  for (let i = 0; i < rows.length && chosen.length < width; i++) {
    if (rank([...chosen, i].map((row) => rows[row]!)) === chosen.length + 1) chosen.push(i);
  }
  if (chosen.length < width) {
    throw new RecorderError(
      'PROBES',
      `the probes do not vary the sizes ${names.join(', ')} independently: change each of them alone at least once`,
    );
  }
  const identity = (i: number): number[] => Array.from({ length: width }, (_, j) => (i === j ? 1 : 0));
  const matrix = chosen.map((row, i) => [...rows[row]!, ...identity(i)]);
  eliminate(matrix, width);
  return [chosen, matrix.map((row) => row.slice(width))];
}

function rank(rows: readonly (readonly number[])[]): number {
  return eliminate(rows.map((row) => [...row]), rows[0]!.length); // biome-ignore format: one call
}

/** Reduces the first `columns` columns to a unit matrix as far as that goes; returns how far. */
function eliminate(matrix: number[][], columns: number): number {
  let done = 0;
  for (let column = 0; column < columns && done < matrix.length; column++) {
    let pivot = done;
    for (let i = done; i < matrix.length; i++) {
      if (Math.abs(matrix[i]![column]!) > Math.abs(matrix[pivot]![column]!)) pivot = i;
    }
    if (Math.abs(matrix[pivot]![column]!) < 1e-9) continue;
    [matrix[done], matrix[pivot]] = [matrix[pivot]!, matrix[done]!];
    const scale = matrix[done]![column]!;
    matrix[done] = matrix[done]!.map((value) => value / scale);
    for (let i = 0; i < matrix.length; i++) {
      const factor = matrix[i]![column]!;
      if (i !== done) matrix[i] = matrix[i]!.map((value, j) => value - factor * matrix[done]![j]!);
    }
    done++;
  }
  return done;
}
