// Graphs for other runtimes from the model code itself (design rule 2): the code runs at several sizes, a listener
// hears its operations, every whole number that varies is fitted by an affine function of the named sizes, and each
// operation becomes ONNX nodes. Numerics are written once, in the model.
//
// Model code that is to be recorded branches on sizes only where it must, writes -1 where a side is a product of sizes,
// and never looks at values.

import type { OnnxModel, OnnxNode, OnnxTensor, OnnxValue } from '@tessera/formats';
import type { Tensor } from '../tensor.ts';
import { type Sizes, textOf } from './affine.ts';
import { Call, type Lowering } from './call.ts';
import { GraphBuilder } from './graph-builder.ts';
import { ARITHMETIC } from './lower/arithmetic.ts';
import { NETWORK } from './lower/network.ts';
import { SHAPES } from './lower/shapes.ts';
import { failure, mergeTraces, type Program, type Step, type Value } from './program.ts';
import { type NamedTensors, trace } from './trace.ts';

/** The first operator set with Gelu. */
const OPSET = 20;

const LOWERINGS: ReadonlyMap<string, Lowering> = new Map(Object.entries({ ...SHAPES, ...ARITHMETIC, ...NETWORK }));

export interface Recording {
  /** Name of the graph. */
  name: string;
  /**
   * Values of the named sizes at which the code is run: at least three, and two more than there are names, each name
   * varied apart from the others. Small ones do: `[{ B: 1, L: 2 }, { B: 2, L: 2 }, { B: 1, L: 3 }, { B: 3, L: 5 }]`.
   */
  probes: readonly Sizes[];
  /** Tensors that become constants of the graph, by their official names. */
  constants: ReadonlyMap<string, Tensor>;
  /** Inputs of the graph by name, made for given sizes; their values do not matter beyond being valid. */
  inputs(sizes: Sizes): NamedTensors;
  /** Runs the code; its outputs by name. Called without gradients, in a scope, once a probe. */
  run(inputs: NamedTensors, sizes: Sizes): NamedTensors;
}

/** The recorded graph; write it with encodeOnnx of @tessera/formats. Throws a RecorderError that names the operation. */
export function recordOnnx(recording: Recording): OnnxModel {
  const { name, probes, constants } = recording;
  const traces = probes.map(
    (sizes) =>
    trace(constants, () => recording.inputs(sizes), (inputs) => recording.run(inputs, sizes)), // biome-ignore format: one call
  );
  const program = mergeTraces(traces, probes);
  const inputs = new Map([...program.inputs].map(([input, number]) => [input, program.values[number]!]));
  const builder = new GraphBuilder(inputs, [...inputs.keys(), ...constants.keys(), ...program.outputs.keys()]);
  const names = nameGivenValues(program, builder, constants);
  for (const step of program.steps) {
    const results = [lower(new Call(builder, program, step, names), step)].flat();
    for (const [i, number] of step.results.entries()) names.set(number, results[i]!);
  }
  const outputs = [...program.outputs].map(([output, number]) => {
    // A name of its own, also where the output is an input, a constant or another output.
    builder.nodes.push({
      op: 'Identity',
      name: output,
      inputs: [names.get(number)!],
      outputs: [output],
      attributes: {},
    });
    return onnxValue(output, program.values[number]!);
  });
  const nodes = neededNodes(builder.nodes, program.outputs.keys());
  const graph = {
    name,
    nodes,
    initializers: neededInitializers(builder.initializers, nodes),
    inputs: [...inputs].map(([input, value]) => onnxValue(input, value)),
    outputs,
  };
  return { opset: OPSET, producer: 'Tessera', graph };
}

function lower(call: Call, step: Step): string | string[] {
  const { name, overload } = step.operation;
  // An operation in place is the plain one: the trace lets later reads see its result (trace.ts).
  const lowering = LOWERINGS.get(overload.replace(/_(?=\.|$)/, '')) ?? LOWERINGS.get(name.replace(/_$/, ''));
  if (lowering === undefined) throw failure('UNSUPPORTED', step, 'has no ONNX form');
  return lowering(call);
}

/** Names of inputs and constants by number; constants that are used get their values into the graph. */
function nameGivenValues(
  program: Program,
  builder: GraphBuilder,
  constants: ReadonlyMap<string, Tensor>,
): Map<number, string> {
  const names = new Map([...program.inputs].map(([input, number]) => [number, input]));
  let anonymous = 0;
  for (const [number, constant] of program.constants) {
    const { dtype, shape } = program.values[number]!;
    const name = 'name' in constant ? constant.name : `anonymous.${anonymous++}`;
    const bytes = 'name' in constant ? constants.get(name)!.toBytes() : constant.bytes;
    builder.initializers.set(name, { dtype, shape: shape as readonly number[], bytes });
    names.set(number, name);
  }
  return names;
}

/** Sides that follow no affine function get a name of their own. */
function onnxValue(name: string, { dtype, shape }: Value): OnnxValue {
  const sides = shape.map((side, axis) =>
    side === undefined ? `${name}_${axis}` : typeof side === 'number' ? side : textOf(side),
  );
  return { name, dtype, shape: sides };
}

/** Those that the outputs depend on, in order. */
function neededNodes(nodes: readonly OnnxNode[], outputs: Iterable<string>): OnnxNode[] {
  const needed = new Set(outputs);
  const kept = nodes.toReversed().filter((node) => {
    if (!node.outputs.some((output) => needed.has(output))) return false;
    for (const input of node.inputs) needed.add(input);
    return true;
  });
  return kept.reverse();
}

function neededInitializers(
  initializers: ReadonlyMap<string, OnnxTensor>,
  nodes: readonly OnnxNode[],
): ReadonlyMap<string, OnnxTensor> {
  const read = new Set(nodes.flatMap(({ inputs }) => inputs));
  return new Map([...initializers].filter(([name]) => read.has(name)));
}
