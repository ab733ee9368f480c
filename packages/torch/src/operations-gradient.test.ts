/**
 * The gradient of every operation of the table equals central differences in float64, at the arguments of its sample,
 * moved a little so that no value lies on a kink or ties with another. Operations whose results hold no floating-point
 * tensor, or which take none, have no gradient; all others are differentiated or stand in the list below with a reason.
 */

import { expect, test } from 'vitest';
import { type Argument, type DispatchEvent, dispatch, type Operation } from './dispatch.ts';
import * as T from './index.ts';
import { SAMPLES } from './operation-samples.test-support.ts';

type Tensor = T.Tensor;

const NEW = 'a new tensor, whatever its argument holds';
const UPDATE = 'an update of parameters in place, after the backward pass';
const STEPS = 'constant between jumps; libtorch defines no gradient';
const WITHOUT_GRADIENT: Record<string, string> = {
  zeros_like: NEW,
  ones_like: NEW,
  empty_like: NEW,
  full_like: NEW,
  rand_like: NEW,
  randn_like: NEW,
  bernoulli: 'a draw; its sample has probabilities 0 and 1 only',
  detach: 'cuts the graph: that is what it is for',
  histc: STEPS,
  floor_divide: STEPS,
  'floor_divide.Scalar': STEPS,
  _unique2: STEPS,
  unique_consecutive: STEPS,
  _addmm_activation: 'for inference: one kernel for product and activation',
  _weight_int8pack_mm: 'for inference: 8-bit weights, float32 only',
  _fused_adamw_: UPDATE,
  _fused_sgd_: UPDATE,
  _foreach_copy_: UPDATE,
  _amp_foreach_non_finite_check_and_unscale_: UPDATE,
  _amp_update_scale_: UPDATE,
};

const f64 = (values: T.NestedNumbers) => T.tensor(values, 'float64');
const matrix = () => f64([[2, 0.5], [0.5, 1.5]]); // biome-ignore format: the matrix

/** Other arguments than the sample's, where those have no gradient or one that a single entry cannot show. */
const OTHER_ARGUMENTS: Record<string, () => T.Result> = {
  'to.dtype': () => T.toDtype(f64([1.7]), 'float64'),
  type_as: () => T.typeAs(f64([1.7]), f64([0])),
  'pow.Tensor_Tensor': () => T.pow(f64([1, 2, 4]), f64([3, 2, 0.5])),
  'remainder.Tensor': () => T.remainder(f64([7, -7]), f64([4, 5])),
  exp_: () => T.exp_(f64([0.1, -1])),
  quantile: () => T.quantile(f64([3, 1, 2]), f64([0.2, 0.6])),
  smooth_l1_loss: () => T.smoothL1Loss(f64([1, -2]), f64([1.4, 3])),
  binary_cross_entropy: () => T.binaryCrossEntropy(f64([0.25]), f64([0.6])),
  linalg_eigh: () => T.linalgEigh(matrix()),
  linalg_eigvalsh: () => T.linalgEigvalsh(matrix()),
  linalg_cholesky: () => T.linalgCholesky(matrix()),
};
/** These read one triangle of a symmetric matrix, so a single entry is not free: they get the symmetric part. */
const SYMMETRIC = new Set(['linalg_eigh', 'linalg_eigvalsh', 'linalg_cholesky']);

const isFloating = (value: unknown): value is Tensor => value instanceof T.Tensor && value.dtype.startsWith('float');

function events(run: () => unknown): DispatchEvent[] {
  const seen: DispatchEvent[] = [];
  const stop = T.listen((event) => seen.push(event));
  run();
  stop();
  return seen;
}

/** All tensors in arguments or results, lists opened. */
function tensorsIn(values: readonly unknown[]): Tensor[] {
  return values.flatMap((value) =>
    Array.isArray(value) ? tensorsIn(value) : value instanceof T.Tensor ? [value] : [],
  );
}

interface Case {
  readonly operation: Operation;
  readonly args: readonly Argument[];
  /** Values of the floating-point arguments, in order, with their shapes. */
  readonly values: readonly Float64Array[];
  readonly shapes: readonly (readonly number[])[];
}

function makeCase({ operation, args }: DispatchEvent): Case {
  const inputs = tensorsIn(args).filter(isFloating);
  const moved = (x: Tensor) =>
    Float64Array.from(x.toNumbers(), (value, k) => value + 0.013 + 0.01 * Math.sin(12.9898 * (k + 1)));
  return { operation, args, values: inputs.map(moved), shapes: inputs.map((x) => x.shape) };
}

/** Runs the operation on `leaves` in place of its floating-point arguments; gives its differentiable results. */
function results({ operation, args }: Case, leaves: readonly Tensor[]): Tensor[] {
  let next = 0;
  const inPlace = operation.name.endsWith('_');
  const put = (value: unknown): unknown => {
    if (Array.isArray(value)) return value.map(put);
    if (!isFloating(value)) return value;
    const leaf = leaves[next++]!;
    if (SYMMETRIC.has(operation.name)) return leaf.add(leaf.t()).mul(0.5);
    return inPlace ? leaf.clone() : leaf;
  };
  const given = args.map(put) as Argument[];
  T.manualSeed(3);
  const result = dispatch(operation, given);
  // Operations on groups return nothing: what they wrote to is their first list.
  return tensorsIn(result === undefined ? [given[0]] : [result]).filter(isFloating);
}

/** Σ w·y over all results, with fixed uneven w, so that no error can cancel. */
function weighted(outputs: readonly Tensor[]): Tensor {
  const terms = outputs.map((y, k) => {
    const weights = Float64Array.from({ length: y.numel }, (_, e) => Math.sin(7.31 * (e + 1) + k) + 1.2);
    return y.mul(T.fromTypedArray(weights, y.shape)).sum();
  });
  return T.stack(terms).sum();
}

/** Largest difference of analytic and numeric gradient, or undefined where no result has one. */
function gradientError(given: Case): number | undefined {
  const { values, shapes } = given;
  const leaves = values.map((data, k) => T.fromTypedArray(data, shapes[k]).requiresGrad_());
  const outputs = results(given, leaves);
  const differentiable = outputs.map((y) => y.requiresGrad);
  const chosen = (all: readonly Tensor[]) => all.filter((_, k) => differentiable[k]);
  if (!differentiable.includes(true)) return undefined;
  const analytic = T.gradients([weighted(chosen(outputs))], leaves);

  const h = 1e-5;
  const at = (which: number, entry: number, step: number) =>
    T.scope(() => {
      const moved = values.map((data) => data.slice());
      moved[which]![entry]! += step;
      const inputs = moved.map((data, k) => T.fromTypedArray(data, shapes[k]));
      return T.noGrad(() => weighted(chosen(results(given, inputs)))).item();
    });
  const errors = values.flatMap((data, which) => {
    const gradient = analytic[which]?.toNumbers();
    return Array.from(data, (_, entry) => {
      const numeric = (at(which, entry, h) - at(which, entry, -h)) / (2 * h);
      return Math.abs((gradient?.[entry] ?? 0) - numeric) / (1 + Math.abs(numeric));
    });
  });
  return Math.max(...errors.map((error) => (Number.isNaN(error) ? Number.POSITIVE_INFINITY : error)));
}

/** What is wrong with the gradient of an operation; nothing where it is right, or where there can be none. */
function judge(event: DispatchEvent): 'right' | 'none' | string {
  const { args, result } = event;
  const outputs = result === undefined ? [args[0]] : [result];
  if (!tensorsIn(args).some(isFloating) || !tensorsIn(outputs).some(isFloating)) return 'none';
  try {
    const error = gradientError(makeCase(event));
    if (error === undefined) return 'no result that requires a gradient';
    return error < 1e-6 ? 'right' : `differs by ${error}`;
  } catch (error) {
    return String(error);
  }
}

test('gradients of all operations equal central differences', { timeout: 60_000 }, () => {
  const verdicts = new Map<string, string>();
  for (const run of [...Object.values(OTHER_ARGUMENTS), ...SAMPLES.map(([sample]) => sample)]) {
    T.scope(() => {
      for (const event of events(run)) {
        const { overload } = event.operation;
        if (!verdicts.has(overload))
          verdicts.set(
            overload,
            T.scope(() => judge(event)),
          );
      }
    });
  }
  expect([...verdicts.keys()].sort()).toEqual(T.OPERATIONS.map(({ overload }) => overload).sort());
  const failed = [...verdicts].filter(([, verdict]) => verdict !== 'right' && verdict !== 'none');
  expect(failed.filter(([overload]) => !(overload in WITHOUT_GRADIENT))).toEqual([]);
  // The list holds no operation that has a gradient after all.
  expect(Object.keys(WITHOUT_GRADIENT).filter((overload) => !failed.some(([name]) => name === overload))).toEqual([]);
  expect([...verdicts.values()].filter((verdict) => verdict === 'right').length).toBeGreaterThan(200);
});
