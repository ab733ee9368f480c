// The ONNX graph under construction: nodes with fresh names, constants that are stored once, and vectors of sizes that
// are computed from the inputs' shapes when the graph runs.

import type { OnnxAttribute, OnnxNode, OnnxTensor } from '@tessera/formats';
import type { DType } from '../dtype.ts';
import { type Affine, type Dimension, textOf } from './affine.ts';
import type { Value } from './program.ts';
import { RecorderError } from './recorder-error.ts';

export type Attributes = Readonly<Record<string, OnnxAttribute>>;

export class GraphBuilder {
  readonly nodes: OnnxNode[] = [];
  readonly initializers = new Map<string, OnnxTensor>();
  private readonly inputs: ReadonlyMap<string, Value>;
  private readonly cache = new Map<string, string>();
  private readonly used: Set<string>;

  constructor(inputs: ReadonlyMap<string, Value>, reserved: Iterable<string>) {
    this.inputs = inputs;
    this.used = new Set(reserved);
  }

  /** Adds a node and returns the names of its outputs, the first like `name_3`. */
  node(name: string, op: string, inputs: readonly string[], attributes: Attributes = {}, count = 1): string[] {
    const outputs = Array.from({ length: count }, () => this.freshName(name));
    this.nodes.push({ op, name: outputs[0]!, inputs, outputs, attributes });
    return outputs;
  }

  /** A constant, stored once however often it is asked for. */
  constant(dtype: DType, shape: readonly number[], values: readonly number[]): string {
    const key = `${dtype}[${shape}] ${values.map((value) => (Object.is(value, -0) ? '-0' : value))}`;
    return this.cached(key, () => {
      const name = this.freshName('constant');
      this.initializers.set(name, { dtype, shape, bytes: bytesOf(dtype, values) });
      return name;
    });
  }

  /** int64 [values.length]. */
  vector(values: readonly Dimension[]): string {
    const isConstant = (value: Dimension): value is number => typeof value === 'number';
    if (values.every(isConstant)) return this.constant('int64', [values.length], values);
    const pieces = values.map((value) =>
      isConstant(value) ? this.constant('int64', [1], [value]) : this.affine(value),
    );
    if (pieces.length === 1) return pieces[0]!;
    return this.cached(`[${values.map(textOf)}]`, () => this.node('sizes', 'Concat', pieces, { axis: { int: 0 } })[0]!);
  }

  /** int64 [1]. */
  private affine(value: Affine): string {
    return this.cached(textOf(value), () => {
      const terms = [...value.coefficients].map(([name, factor]) => {
        const size = this.size(name);
        return factor === 1 ? size : this.node('sizes', 'Mul', [size, this.constant('int64', [1], [factor])])[0]!;
      });
      if (value.constant !== 0) terms.push(this.constant('int64', [1], [value.constant]));
      return terms.reduce((sum, term) => this.node('sizes', 'Add', [sum, term])[0]!);
    });
  }

  /** A named size as int64 [1], read off the shape of an input that shows it. */
  private size(name: string): string {
    return this.cached(`size ${name}`, () => {
      for (const [input, { shape }] of this.inputs) {
        for (const [axis, side] of shape.entries()) {
          if (side === undefined || typeof side === 'number' || side.coefficients.size !== 1) continue;
          const factor = side.coefficients.get(name);
          if (factor === undefined) continue;
          const [whole] = this.node('sizes', 'Shape', [input], { start: { int: axis }, end: { int: axis + 1 } });
          const one = (number: number): string => this.constant('int64', [1], [number]);
          const shifted = side.constant === 0 ? whole! : this.node('sizes', 'Sub', [whole!, one(side.constant)])[0]!;
          return factor === 1 ? shifted : this.node('sizes', 'Div', [shifted, one(factor)])[0]!;
        }
      }
      throw new RecorderError(
        'NOT_AFFINE',
        `the size ${name} is needed when the graph runs, and no input's shape shows it`,
      );
    });
  }

  private cached(key: string, make: () => string): string {
    const known = this.cache.get(key);
    if (known !== undefined) return known;
    const made = make();
    this.cache.set(key, made);
    return made;
  }

  private freshName(base: string): string {
    for (let i = this.used.size; ; i++) {
      const name = `${base}_${i}`;
      if (!this.used.has(name)) {
        this.used.add(name);
        return name;
      }
    }
  }
}

function bytesOf(dtype: DType, values: readonly number[]): Uint8Array {
  switch (dtype) {
    case 'float32':
      return new Uint8Array(Float32Array.from(values).buffer);
    case 'float64':
      return new Uint8Array(Float64Array.from(values).buffer);
    case 'int64':
      return new Uint8Array(BigInt64Array.from(values, BigInt).buffer);
    case 'int32':
      return new Uint8Array(Int32Array.from(values).buffer);
    case 'bool':
    case 'uint8':
      return Uint8Array.from(values);
    default:
      throw new RecorderError('UNSUPPORTED', `constants of ${dtype} are not exported: record the model in float32`);
  }
}
