// One run of a model as a list of operations on numbered values, heard at the dispatch point (design rule 2). Values
// are numbered as they appear, so two runs of the same code have the same numbers. An operation in place makes a new
// value that later reads of the tensor see; a read of the old one through a view is refused, for a graph has no memory.

import { noGrad } from '../autograd.ts';
import { type Argument, type DispatchEvent, listen, type Operation } from '../dispatch.ts';
import type { DType } from '../dtype.ts';
import { scope } from '../scope.ts';
import { Tensor } from '../tensor.ts';
import { MAY_SHARE_MEMORY } from '../views.ts';
import { RecorderError } from './recorder-error.ts';

export interface TracedValue {
  readonly dtype: DType;
  readonly shape: readonly number[];
}

/** A tensor by number, a list of them, or anything else as it was given. */
export type TracedArgument =
  | { readonly kind: 'tensor'; readonly value: number }
  | { readonly kind: 'tensors'; readonly values: readonly (number | undefined)[] }
  | { readonly kind: 'plain'; readonly value: number | boolean | string | readonly number[] | undefined };

export interface TracedStep {
  readonly operation: Operation;
  readonly args: readonly TracedArgument[];
  /** Numbers of its results. */
  readonly results: readonly number[];
  /** The stack of the call, unread. */
  readonly stack: string;
}

/** A tensor that the run used and did not make: by its given name, or its bytes. */
export type TracedConstant = { readonly name: string } | { readonly bytes: Uint8Array };

export interface Trace {
  readonly steps: readonly TracedStep[];
  readonly values: readonly TracedValue[];
  readonly constants: ReadonlyMap<number, TracedConstant>;
  /** Numbers by name. */
  readonly inputs: ReadonlyMap<string, number>;
  readonly outputs: ReadonlyMap<string, number>;
}

export type NamedTensors = Readonly<Record<string, Tensor>>;

/** Anonymous constants are small: positions, masks, scales. What is larger is a parameter that nobody named. */
const LARGEST_ANONYMOUS = 1 << 16;

/** Runs `body` on fresh inputs without gradients and hears what it does; its tensors are freed. */
export function trace(
  constants: ReadonlyMap<string, Tensor>,
  makeInputs: () => NamedTensors,
  body: (inputs: NamedTensors) => NamedTensors,
): Trace {
  return noGrad(() =>
    scope(() => {
      const inputs = makeInputs();
      const tracer = new Tracer(constants, inputs);
      const stop = listen((event) => tracer.hear(event));
      try {
        return tracer.finish(body(inputs));
      } finally {
        stop();
      }
    }),
  );
}

class Tracer {
  private readonly names: ReadonlyMap<number, string>;
  private readonly steps: TracedStep[] = [];
  private readonly values: TracedValue[] = [];
  private readonly constants = new Map<number, TracedConstant>();
  private readonly inputs: ReadonlyMap<string, number>;
  private readonly numbers = new Map<number, number>(); // by handle
  private readonly handles: number[][] = []; // by number
  private readonly memories: Memory[] = []; // by number
  private readonly writes: number[] = []; // of its memory when the value was made, by number

  constructor(constants: ReadonlyMap<string, Tensor>, inputs: NamedTensors) {
    this.names = new Map([...constants].map(([name, tensor]) => [tensor.handle, name]));
    this.inputs = new Map(Object.entries(inputs).map(([name, tensor]) => [name, this.add(tensor)]));
  }

  hear({ operation, args, result }: DispatchEvent): void {
    if (operation.index === -1) throw new RecorderError('UNSUPPORTED', `${operation.name} cannot be recorded`);
    const given = args.map((arg) => this.argument(arg, operation));
    const memory = this.memoryOfResult(operation, given[0]);
    const results = (Array.isArray(result) ? result : [result]).map((tensor) => {
      if (tensor instanceof Tensor) return this.add(tensor, memory);
      throw new RecorderError(
        'UNSUPPORTED',
        `${operation.name} gives a ${typeof tensor}: model code must not look at values`,
      );
    });
    if (isInPlace(operation) && given[0]?.kind === 'tensor') this.replace(given[0].value, results[0]!);
    this.steps.push({ operation, args: given, results, stack: new Error('call').stack ?? '' });
  }

  finish(outputs: NamedTensors): Trace {
    const numbers = Object.entries(outputs).map(
      ([name, tensor]) => [name, this.numberOf(tensor, `the output "${name}"`)] as const,
    );
    const { steps, values, constants, inputs } = this;
    return { steps, values, constants, inputs, outputs: new Map(numbers) };
  }

  private argument(value: Argument, operation: Operation): TracedArgument {
    if (value instanceof Tensor) return { kind: 'tensor', value: this.numberOf(value, operation.name) };
    if (Array.isArray(value) && value.some((item) => item instanceof Tensor)) {
      const items = value as readonly (Tensor | undefined)[];
      return { kind: 'tensors', values: items.map((item) => item && this.numberOf(item, operation.name)) };
    }
    return { kind: 'plain', value: value as number | boolean | string | readonly number[] | undefined };
  }

  private numberOf(tensor: Tensor, user: string): number {
    const known = this.numbers.get(tensor.handle);
    if (known !== undefined) {
      if (this.writes[known] === this.memories[known]!.writes) return known;
      throw new RecorderError(
        'UNSUPPORTED',
        `${user} reads ${tensor.describe()} after it was written over through another view`,
      );
    }
    const number = this.add(tensor, { writes: 0, isConstant: true });
    const name = this.names.get(tensor.handle);
    if (name === undefined && tensor.numel > LARGEST_ANONYMOUS) {
      throw new RecorderError(
        'UNKNOWN_TENSOR',
        `${user} uses a tensor of unknown origin, ${tensor.describe()}: name it among the constants or give it as an input`,
      );
    }
    this.constants.set(number, name === undefined ? { bytes: tensor.toBytes() } : { name });
    return number;
  }

  /** That of the operand for views and writes; undefined for fresh memory. */
  private memoryOfResult(operation: Operation, first: TracedArgument | undefined): Memory | undefined {
    if (first?.kind !== 'tensor') return undefined;
    const memory = this.memories[first.value]!;
    if (!isInPlace(operation)) return MAY_SHARE_MEMORY.has(operation.name) ? memory : undefined;
    if (memory.isConstant) throw new RecorderError('UNSUPPORTED', `${operation.name} writes over a constant`);
    memory.writes++;
    return memory;
  }

  /** All tensors that were the old value are the new one. */
  private replace(before: number, after: number): void {
    for (const handle of this.handles[before]!) this.numbers.set(handle, after);
    this.handles[after]!.push(...this.handles[before]!);
  }

  private add(tensor: Tensor, memory: Memory = { writes: 0, isConstant: false }): number {
    const number = this.values.push({ dtype: tensor.dtype, shape: tensor.shape }) - 1;
    this.handles.push([tensor.handle]);
    this.memories.push(memory);
    this.writes.push(memory.writes);
    this.numbers.set(tensor.handle, number);
    return number;
  }
}

/** What a tensor and its views share. */
interface Memory {
  writes: number;
  readonly isConstant: boolean;
}

/** By PyTorch's naming. */
function isInPlace({ name }: Operation): boolean {
  return name.endsWith('_');
}
