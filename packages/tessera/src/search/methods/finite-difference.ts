/**
 * AutoNAT's own search (CVPR 2024; released code, class DisPatcher): one-sided finite differences, one variable at a
 * time from the same base point, then a step of SGD with momentum and a clamp. 4T − 2 evaluations an update and one for
 * the new base. Checked against recorded runs by the golden values of the kind nat-search-trajectory.
 *
 *   g_i = (f(x + h_i) − f(x)) / h_i      h_i after the clamp of the probe
 *   b ← μ b + clip(g)                    b = clip(g) at first: PyTorch's form, dampening 0
 *   x ← clamp(x − lr · b)
 */

import type { Candidate, Method } from '../method.ts';
import { LIST_NAMES, type ListName, listLength } from '../variables.ts';

export interface FiniteDifferenceOptions {
  /** Learning rate of the ratios, and of all others. Default 1e-3, 0.1. */
  ratioRate?: number | undefined;
  otherRate?: number | undefined;
  /** Step of the probes. Default 0.01, 0.1. */
  ratioStep?: number | undefined;
  otherStep?: number | undefined;
  /** Default 0.5. */
  momentum?: number | undefined;
  /** Largest size of an entry of the gradient; default: no limit. */
  clip?: number | undefined;
  /** Default 100. */
  maxUpdates?: number | undefined;
  /** Bounds of points, of ratios and of all others; default [0, 0.99] and [1e-4, ∞). */
  ratioBounds?: readonly [number, number] | undefined;
  otherBounds?: readonly [number, number] | undefined;
  /** Bounds of probes; default [0, 1] and [1e-4, ∞). */
  ratioProbeBounds?: readonly [number, number] | undefined;
  otherProbeBounds?: readonly [number, number] | undefined;
  /** Of single lists, for points and probes; they stand in place of those above. */
  bounds?: Partial<Record<ListName, readonly [number, number]>> | undefined;
}

/** Lower bound of temperatures and guidance in the released search. */
export const LOWEST = 1e-4;
/** Highest ratio in the released search. */
export const HIGHEST_RATIO = 0.99;

export const FINITE_DIFFERENCE_RATES = { ratio: 1e-3, other: 0.1 } as const;

/** @param start [4T − 2], in the order of variables.ts */
export function* finiteDifference(
  start: readonly number[],
  numSteps: number,
  options: FiniteDifferenceOptions = {},
): Method {
  const { momentum = 0.5, clip = Number.POSITIVE_INFINITY, maxUpdates = 100 } = options;
  const variables = settingsOf(numSteps, options);
  let base = [...start];
  let velocity: number[] | undefined;
  let [baseValue] = (yield [candidate('stp_0', base)]) as [number];
  for (let update = 0; update < maxUpdates; update++) {
    const probes = variables.map((variable, i) => probeOf(variable, base[i]!));
    // What its bounds hold still is not measured.
    const free = probes.flatMap((probe, i) => (probe === base[i]! ? [] : [i]));
    const values = yield free.map((i) => candidate(`grad_est_${i}_stp_${update}`, base.with(i, probes[i]!)));
    const gradient = new Array<number>(base.length).fill(0);
    for (const [k, i] of free.entries()) gradient[i] = (values[k]! - baseValue) / (probes[i]! - base[i]!);
    const clipped = gradient.map((g) => clamp(g, [-clip, clip]));
    velocity = clipped.map((g, i) => (velocity === undefined ? g : momentum * velocity[i]! + g));
    base = base.map((x, i) => clamp(x - variables[i]!.rate * velocity![i]!, variables[i]!.bounds));
    [baseValue] = (yield [candidate(`stp_${update + 1}`, base)]) as [number];
  }
}

/** The number of a base point's phase, `stp_N`; undefined for probes and other phases. */
export function basePointIndex(phase: string): number | undefined {
  const match = /^stp_(\d+)$/.exec(phase);
  return match === null ? undefined : Number(match[1]);
}

interface Variable {
  step: number;
  rate: number;
  bounds: readonly [number, number];
  probe: readonly [number, number];
}

/** A step away, backwards from an upper bound. */
function probeOf({ step, probe }: Variable, at: number): number {
  const forward = clamp(at + step, probe);
  return forward === at ? clamp(at - step, probe) : forward;
}

function settingsOf(numSteps: number, options: FiniteDifferenceOptions): Variable[] {
  const ratio: Variable = {
    step: options.ratioStep ?? 0.01,
    rate: options.ratioRate ?? FINITE_DIFFERENCE_RATES.ratio,
    bounds: options.ratioBounds ?? [0, HIGHEST_RATIO],
    probe: options.ratioProbeBounds ?? [0, 1],
  };
  const other: Variable = {
    step: options.otherStep ?? 0.1,
    rate: options.otherRate ?? FINITE_DIFFERENCE_RATES.other,
    bounds: options.otherBounds ?? [LOWEST, Number.POSITIVE_INFINITY],
    probe: options.otherProbeBounds ?? [LOWEST, Number.POSITIVE_INFINITY],
  };
  return LIST_NAMES.flatMap((name) => {
    const variable = name === 'ratios' ? ratio : other;
    const bounds = options.bounds?.[name];
    const own = bounds === undefined ? variable : { ...variable, bounds, probe: bounds };
    return Array.from({ length: listLength(name, numSteps) }, () => own);
  });
}

function candidate(phase: string, point: readonly number[]): Candidate {
  return { phase, point, share: 1 };
}

function clamp(x: number, [low, high]: readonly [number, number]): number {
  return Math.min(high, Math.max(low, x));
}
