// Several traces of the same code merged into one program whose whole numbers are affine functions of the named sizes.
// Whatever differs in another way fails, with the operation and the line that called it.

import type { Operation } from '../dispatch.ts';
import type { DType } from '../dtype.ts';
import { AffineFit, type Dimension, type Sizes } from './affine.ts';
import { RecorderError, type RecorderErrorCode } from './recorder-error.ts';
import { sourceLine } from './source-line.ts';
import type { Trace, TracedArgument, TracedConstant, TracedStep } from './trace.ts';

export interface Value {
  readonly dtype: DType;
  /** Undefined where a side is no affine function of the sizes, such as their product. */
  readonly shape: readonly (Dimension | undefined)[];
}

export type ProgramArgument =
  | { readonly kind: 'tensor'; readonly value: number }
  | { readonly kind: 'tensors'; readonly values: readonly (number | undefined)[] }
  | { readonly kind: 'integers'; readonly values: readonly Dimension[] }
  | { readonly kind: 'plain'; readonly value: Dimension | boolean | string | undefined };

export interface Step {
  readonly operation: Operation;
  readonly args: readonly ProgramArgument[];
  readonly results: readonly number[];
  readonly stack: string;
}

export interface Program {
  readonly steps: readonly Step[];
  readonly values: readonly Value[];
  readonly constants: ReadonlyMap<number, TracedConstant>;
  readonly inputs: ReadonlyMap<string, number>;
  readonly outputs: ReadonlyMap<string, number>;
}

/** `traces` in the order of `probes`, the sizes at which they were made. */
export function mergeTraces(traces: readonly Trace[], probes: readonly Sizes[]): Program {
  const fit = new AffineFit(probes);
  const [first] = traces as [Trace, ...Trace[]];
  const steps = first.steps.map((step, i) => mergeStep(traces.map((trace) => trace.steps[i]), step, fit)); // biome-ignore format: one call
  for (const { steps: others } of traces) {
    const extra = others[first.steps.length];
    if (extra !== undefined)
      throw failure('STRUCTURE', extra, 'runs at one probe and not at another: code branches on sizes');
  }
  const outputs = new Set(traces.map((trace) => JSON.stringify([...trace.outputs])));
  if (outputs.size > 1)
    throw new RecorderError('STRUCTURE', 'the probes return different outputs: code branches on sizes');
  checkConstants(traces);
  checkKinds(traces);
  const values = first.values.map(({ dtype, shape }, number) => ({
    dtype,
    shape: shape.map((_, axis) => fit.fit(traces.map((trace) => trace.values[number]!.shape[axis]!))),
  }));
  return { steps, values, constants: first.constants, inputs: first.inputs, outputs: first.outputs };
}

/** An error about a step: its operation, what is wrong, and the line that called it. */
export function failure(
  code: RecorderErrorCode,
  step: Pick<Step, 'operation' | 'stack'>,
  problem: string,
): RecorderError {
  return new RecorderError(code, `${step.operation.name}: ${problem}, at ${sourceLine(step.stack)}`);
}

/** Sizes may differ between probes, not dtypes and numbers of axes. */
function checkKinds(traces: readonly Trace[]): void {
  const [first] = traces as [Trace, ...Trace[]];
  for (const [number, { dtype, shape }] of first.values.entries()) {
    const other = traces
      .map((trace) => trace.values[number]!)
      .find((value) => value.dtype !== dtype || value.shape.length !== shape.length);
    if (other === undefined) continue;
    const kinds = [{ dtype, shape }, other].map((value) => `${value.dtype} [${value.shape}]`).join(' at one probe, ');
    const step = first.steps.find(({ results }) => results.includes(number));
    const problem = `a result is ${kinds} at another: code branches on sizes`;
    throw step === undefined ? new RecorderError('STRUCTURE', problem) : failure('STRUCTURE', step, problem);
  }
}

function mergeStep(steps: readonly (TracedStep | undefined)[], first: TracedStep, fit: AffineFit): Step {
  for (const step of steps) {
    if (
      step === undefined ||
      step.operation.index !== first.operation.index ||
      String(step.results) !== String(first.results)
    ) {
      const other = step === undefined ? 'nothing' : step.operation.overload;
      throw failure('STRUCTURE', first, `another probe runs ${other} here: code branches on sizes`);
    }
  }
  const args = first.args.map(
    (_, i) =>
    mergeArguments(steps.map((step) => step!.args[i]!), fit, first, first.operation.parameters[i]!), // biome-ignore format: one call
  );
  return { ...first, args };
}

function mergeArguments(
  given: readonly TracedArgument[],
  fit: AffineFit,
  step: TracedStep,
  parameter: string,
): ProgramArgument {
  const [first] = given as [TracedArgument, ...TracedArgument[]];
  const texts = given.map((argument) => JSON.stringify(argument));
  const seen = `${parameter} is ${given.map(shown).join(', ')} at the probes`;
  if (first.kind !== 'plain') {
    if (texts.every((text) => text === texts[0])) return first;
    throw failure('STRUCTURE', step, `${parameter} is another tensor at another probe: code branches on sizes`);
  }
  const plain = given.map((argument) => (argument.kind === 'plain' ? argument.value : undefined));
  const fitted = (values: readonly number[]): Dimension => {
    const whole = values.every(Number.isSafeInteger) ? fit.fit(values) : undefined;
    if (whole !== undefined) return whole;
    throw failure('NOT_AFFINE', step, `${seen}, no affine function of ${fit.names.join(', ')}`);
  };
  if (isIntegers(plain[0])) {
    const lists = plain as readonly (readonly number[])[];
    if (!lists.every((list) => isIntegers(list) && list.length === lists[0]!.length)) {
      throw failure('STRUCTURE', step, `${seen}: code branches on sizes`);
    }
    return { kind: 'integers', values: lists[0]!.map((_, i) => fitted(lists.map((list) => list[i]!))) };
  }
  if (texts.every((text) => text === texts[0]))
    return { kind: 'plain', value: plain[0] as number | boolean | string | undefined };
  if (plain.every((value) => typeof value === 'number'))
    return { kind: 'plain', value: fitted(plain as readonly number[]) };
  throw failure('STRUCTURE', step, `${seen}: code branches on sizes`);
}

function isIntegers(value: unknown): value is readonly number[] {
  return Array.isArray(value);
}

function shown(argument: TracedArgument): string {
  return argument.kind === 'plain' ? (JSON.stringify(argument.value) ?? 'absent') : 'a tensor';
}

/** Tensors that the code made of JavaScript values must have the same ones at every probe. */
function checkConstants(traces: readonly Trace[]): void {
  const [first] = traces as [Trace, ...Trace[]];
  for (const [number, constant] of first.constants) {
    for (const trace of traces) {
      const other = trace.constants.get(number);
      const same =
        other !== undefined &&
        ('name' in constant
          ? 'name' in other && other.name === constant.name
          : 'bytes' in other && Buffer.compare(other.bytes, constant.bytes) === 0);
      if (same) continue;
      const { dtype, shape } = first.values[number]!;
      throw new RecorderError(
        'UNKNOWN_TENSOR',
        `a tensor that no operation made, ${dtype} [${shape.join(', ')}], has other values at another probe: give it as an input`,
      );
    }
  }
}
