/**
 * An ONNX model as plain data: what the writer takes and the reader gives. Only what our graphs use is here: nodes of
 * the standard operator set, dense initializers, tensor inputs and outputs whose sizes are numbers or names.
 *
 * Format: https://github.com/onnx/onnx/blob/main/docs/IR.md and onnx/onnx.proto
 */
import { byteLengthOf, type DType } from '../dtype.ts';

export interface OnnxModel {
  /** Version of the standard operator set, such as 20. */
  readonly opset: number;
  readonly producer: string;
  readonly graph: OnnxGraph;
  readonly metadata?: Readonly<Record<string, string>>;
}

export interface OnnxGraph {
  readonly name: string;
  /** Each node after those whose outputs it reads. */
  readonly nodes: readonly OnnxNode[];
  /** Constant tensors by name. */
  readonly initializers: ReadonlyMap<string, OnnxTensor>;
  readonly inputs: readonly OnnxValue[];
  readonly outputs: readonly OnnxValue[];
}

export interface OnnxNode {
  readonly op: string;
  readonly name: string;
  /** Names of values; '' for an optional one that is left out. */
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes: Readonly<Record<string, OnnxAttribute>>;
}

export type OnnxAttribute =
  | { readonly int: number }
  | { readonly float: number }
  | { readonly text: string }
  | { readonly ints: readonly number[] }
  | { readonly tensor: OnnxTensor };

export interface OnnxTensor {
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** C order, little-endian, exactly the size of shape times element. */
  readonly bytes: Uint8Array;
}

export interface OnnxValue {
  readonly name: string;
  readonly dtype: DType;
  /** A name stands for a size that is known only when the model runs. */
  readonly shape: readonly (number | string)[];
}

/** ONNX's numbers of the element types that both know. */
export const ONNX_DTYPES: ReadonlyMap<DType, number> = new Map([
  ['float32', 1],
  ['uint8', 2],
  ['int8', 3],
  ['uint16', 4],
  ['int16', 5],
  ['int32', 6],
  ['int64', 7],
  ['bool', 9],
  ['float16', 10],
  ['float64', 11],
  ['uint32', 12],
  ['uint64', 13],
  ['bfloat16', 16],
]);

export type Refuse = (rule: string, message: string) => never;

/** Refuses a tensor whose bytes do not fit its shape. */
export function checkTensor(what: string, { dtype, shape, bytes }: OnnxTensor, refuse: Refuse): void {
  const needed = byteLengthOf(dtype, shape);
  if (needed !== bytes.byteLength) {
    refuse('tensor-size', `${what}: ${dtype} [${shape.join(', ')}] needs ${needed} bytes, got ${bytes.byteLength}`);
  }
}

/** Refuses a graph with a name defined twice, a value used before it is defined, or an output that nothing makes. */
export function checkGraph(graph: OnnxGraph, refuse: Refuse): void {
  const defined = new Set<string>();
  const define = (name: string, by: string): void => {
    if (name === '') refuse('name', `${by} has an empty name`);
    if (defined.has(name)) refuse('name', `the value "${name}" of ${by} is defined twice`);
    defined.add(name);
  };
  for (const { name } of graph.inputs) define(name, 'the inputs');
  for (const name of graph.initializers.keys()) define(name, 'the initializers');
  for (const node of graph.nodes) {
    for (const input of node.inputs) {
      if (input !== '' && !defined.has(input)) {
        refuse('undefined-value', `node "${node.name}" (${node.op}) reads "${input}", which nothing before it defines`);
      }
    }
    for (const output of node.outputs) if (output !== '') define(output, `node "${node.name}" (${node.op})`);
  }
  for (const { name } of graph.outputs) {
    if (!defined.has(name)) refuse('undefined-value', `the output "${name}" is defined by nothing`);
  }
}
