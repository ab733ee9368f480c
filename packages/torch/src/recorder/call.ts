// What a lowering sees of one recorded operation: its arguments by parameter name, typed and checked, the shapes and
// dtypes of its tensors, and the graph that it adds nodes to.

import { ONNX_DTYPES } from '@tessera/formats';
import type { DType } from '../dtype.ts';
import { type Dimension, textOf } from './affine.ts';
import type { Attributes, GraphBuilder } from './graph-builder.ts';
import { failure, type Program, type ProgramArgument, type Step } from './program.ts';

export type Shape = readonly (Dimension | undefined)[];

/** Adds the nodes of an operation and returns the names of its results. */
export type Lowering = (call: Call) => string | string[];

export class Call {
  readonly builder: GraphBuilder;
  private readonly step: Step;
  private readonly program: Program;
  private readonly names: ReadonlyMap<number, string>;

  /** @param names of the values so far, by number */
  constructor(builder: GraphBuilder, program: Program, step: Step, names: ReadonlyMap<number, string>) {
    this.builder = builder;
    this.program = program;
    this.step = step;
    this.names = names;
  }

  // Arguments.

  tensor(parameter: string): string {
    return this.optionalTensor(parameter) ?? this.refuse(`expected a tensor as ${parameter}`);
  }

  optionalTensor(parameter: string): string | undefined {
    const argument = this.argument(parameter);
    return argument.kind === 'tensor' ? this.names.get(argument.value) : undefined;
  }

  tensors(parameter: string): (string | undefined)[] {
    const argument = this.argument(parameter);
    if (argument.kind !== 'tensors') return this.refuse(`expected tensors as ${parameter}`);
    return argument.values.map((value) => (value === undefined ? undefined : this.names.get(value)));
  }

  /** Numbers that may follow the sizes. */
  dimensions(parameter: string): readonly Dimension[] {
    const argument = this.argument(parameter);
    return argument.kind === 'integers' ? argument.values : this.refuse(`expected integers as ${parameter}`);
  }

  /** Undefined where the argument was left out. */
  optionalDimension(parameter: string): Dimension | undefined {
    const argument = this.argument(parameter);
    if (argument.kind !== 'plain' || typeof argument.value === 'string' || typeof argument.value === 'boolean') {
      return this.refuse(`expected a number as ${parameter}`);
    }
    return argument.value;
  }

  dimension(parameter: string): Dimension {
    return this.optionalDimension(parameter) ?? this.refuse(`expected a number as ${parameter}`);
  }

  /** A number that is the same at every size. */
  number(parameter: string): number {
    return this.fixed(this.dimension(parameter), parameter);
  }

  optionalNumber(parameter: string): number | undefined {
    return this.isAbsent(parameter) ? undefined : this.number(parameter);
  }

  numbers(parameter: string): number[] {
    return this.dimensions(parameter).map((value) => this.fixed(value, parameter));
  }

  text(parameter: string): string {
    const argument = this.argument(parameter);
    return argument.kind === 'plain' && typeof argument.value === 'string'
      ? argument.value
      : this.refuse(`expected a text as ${parameter}`);
  }

  flag(parameter: string): boolean {
    const argument = this.argument(parameter);
    return argument.kind === 'plain' && argument.value === true;
  }

  isAbsent(parameter: string): boolean {
    const argument = this.argument(parameter);
    return argument.kind === 'plain' && argument.value === undefined;
  }

  isTensor(parameter: string): boolean {
    return this.argument(parameter).kind === 'tensor';
  }

  /** A dimension number counted from the front. */
  axis(parameter: string, rank: number): number {
    const axis = this.number(parameter);
    return axis < 0 ? axis + rank : axis;
  }

  // Shapes and dtypes.

  shape(parameter: string): Shape {
    return this.program.values[this.valueOf(parameter)]!.shape;
  }

  dtype(parameter: string): DType {
    return this.program.values[this.valueOf(parameter)]!.dtype;
  }

  dtypesOf(parameter: string): (DType | undefined)[] {
    const argument = this.argument(parameter);
    if (argument.kind !== 'tensors') return this.refuse(`expected tensors as ${parameter}`);
    return argument.values.map((value) => (value === undefined ? undefined : this.program.values[value]!.dtype));
  }

  get numResults(): number {
    return this.step.results.length;
  }

  resultShape(index = 0): Shape {
    return this.program.values[this.step.results[index]!]!.shape;
  }

  resultDtype(index = 0): DType {
    return this.program.values[this.step.results[index]!]!.dtype;
  }

  /** A side that must be the same at every size. */
  fixedSide(shape: Shape, axis: number): number {
    return this.fixed(this.side(shape, axis), `dimension ${axis}`);
  }

  /** A side that must be an affine function of the sizes. */
  side(shape: Shape, axis: number): Dimension {
    const side = shape.at(axis);
    if (side !== undefined) return side;
    throw failure('NOT_AFFINE', this.step, `dimension ${axis} is no affine function of the sizes`);
  }

  // The graph.

  node(op: string, inputs: readonly (string | undefined)[], attributes: Attributes = {}): string {
    return this.nodes(op, inputs, 1, attributes)[0]!;
  }

  nodes(op: string, inputs: readonly (string | undefined)[], count: number, attributes: Attributes = {}): string[] {
    const given = inputs.map((input) => input ?? '');
    return this.builder.node(this.step.operation.name, op, given, attributes, count);
  }

  /** int64 [values.length]. */
  vector(values: readonly Dimension[]): string {
    return this.builder.vector(values);
  }

  /** A number as a tensor without dimensions. */
  scalar(value: Dimension, dtype: DType): string {
    if (typeof value === 'number') return this.builder.constant(dtype, [], [value]);
    const vector = this.builder.vector([value]);
    return this.cast(this.node('Squeeze', [vector]), 'int64', dtype);
  }

  cast(name: string, from: DType, to: DType): string {
    return from === to ? name : this.node('Cast', [name], { to: { int: ONNX_DTYPES.get(to)! } });
  }

  refuse(problem: string): never {
    throw failure('UNSUPPORTED', this.step, problem);
  }

  private fixed(value: Dimension, what: string): number {
    return typeof value === 'number'
      ? value
      : this.refuse(`${what} is ${textOf(value)}; here only a fixed number can be exported`);
  }

  private valueOf(parameter: string): number {
    const argument = this.argument(parameter);
    return argument.kind === 'tensor' ? argument.value : this.refuse(`expected a tensor as ${parameter}`);
  }

  private argument(parameter: string): ProgramArgument {
    const { parameters, overload } = this.step.operation;
    const index = parameters.indexOf(parameter);
    // Lowerings are written against the table of operations; a name that is not in it is a defect here.
    if (index === -1) throw new Error(`${overload} has no parameter ${parameter}`);
    return this.step.args[index] ?? { kind: 'plain', value: undefined };
  }
}
