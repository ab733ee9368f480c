/** Small dense solvers in float64, for matrices of tens to hundreds of rows: the same bits wherever they run. */

/** Eigenvalues and orthonormal eigenvectors of a symmetric matrix, by cyclic Jacobi rotations. `vectors[k]` belongs to `values[k]`. */
export function symmetricEigen(matrix: readonly (readonly number[])[]): { values: number[]; vectors: number[][] } {
  const n = matrix.length;
  const a = matrix.map((row) => [...row]);
  const v = matrix.map((_, i) => matrix.map((_, j) => (i === j ? 1 : 0)));
  const size = Math.sqrt(a.flat().reduce((sum, x) => sum + x * x, 0));
  for (let sweep = 0; sweep < 60; sweep++) {
    let off = 0;
    for (let p = 0; p < n; p++) for (let q = p + 1; q < n; q++) off += a[p]![q]! ** 2;
    if (Math.sqrt(off) <= 1e-14 * size) break;
    for (let p = 0; p < n; p++) for (let q = p + 1; q < n; q++) rotate(a, v, p, q);
  }
  return { values: a.map((row, i) => row[i]!), vectors: v };
}

/** Makes a[p][q] zero (Golub & Van Loan, section 8.5); rows of `v` collect the rotations. */
function rotate(a: number[][], v: number[][], p: number, q: number): void {
  const apq = a[p]![q]!;
  if (apq === 0) return;
  const theta = (a[q]![q]! - a[p]![p]!) / (2 * apq);
  const t = (theta >= 0 ? 1 : -1) / (Math.abs(theta) + Math.sqrt(theta * theta + 1));
  const c = 1 / Math.sqrt(t * t + 1);
  const s = t * c;
  for (const row of a) [row[p], row[q]] = [c * row[p]! - s * row[q]!, s * row[p]! + c * row[q]!];
  for (const m of [a, v]) {
    const [x, y] = [m[p]!, m[q]!];
    m[p] = x.map((value, i) => c * value - s * y[i]!);
    m[q] = x.map((value, i) => s * value + c * y[i]!);
  }
}

/** The lower triangle L with L Lᵀ = A, of which only the lower triangle is read: rows of 1, 2, … n. A is positive definite. */
export function cholesky(matrix: readonly (readonly number[])[]): number[][] {
  const factor: number[][] = [];
  for (const [i, given] of matrix.entries()) {
    const row: number[] = [];
    for (let j = 0; j <= i; j++) {
      const other = j === i ? row : factor[j]!;
      let sum = given[j]!;
      for (let k = 0; k < j; k++) sum -= row[k]! * other[k]!;
      row.push(j === i ? Math.sqrt(Math.max(sum, Number.MIN_VALUE)) : sum / other[j]!);
    }
    factor.push(row);
  }
  return factor;
}

/** x with L x = b. */
export function solveLower(factor: readonly (readonly number[])[], b: readonly number[]): number[] {
  const x: number[] = [];
  for (const [i, row] of factor.entries()) {
    let sum = b[i]!;
    for (let k = 0; k < i; k++) sum -= row[k]! * x[k]!;
    x.push(sum / row[i]!);
  }
  return x;
}

/** x with Lᵀ x = b. */
export function solveUpper(factor: readonly (readonly number[])[], b: readonly number[]): number[] {
  const x = [...b];
  for (let i = x.length - 1; i >= 0; i--) {
    const row = factor[i]!;
    x[i]! /= row[i]!;
    for (let k = 0; k < i; k++) x[k]! -= row[k]! * x[i]!;
  }
  return x;
}
