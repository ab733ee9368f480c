/**
 * Writes ONNX models in pieces: an initializer's bytes are handed on, never copied. The graph is the last field, so a
 * file that was cut anywhere has none and is refused by readers.
 */
import { concatBytes } from '../byte-reader.ts';
import { FormatError } from '../format-error.ts';
import { delimitedField, delimitedPieces, floatField, varintField } from '../protobuf.ts';
import {
  checkGraph,
  checkTensor,
  ONNX_DTYPES,
  type OnnxAttribute,
  type OnnxGraph,
  type OnnxModel,
  type OnnxNode,
  type OnnxTensor,
  type OnnxValue,
} from './model.ts';

/** Protocol buffers, and every reader of ONNX files, stop at 2 GiB. */
const MAX_BYTES = 2 ** 31 - 1;

/** The intermediate representation that belongs to each operator set (onnx/helper.py, VERSION_TABLE). */
const IR_VERSIONS: Readonly<Record<number, number>> = { 17: 8, 18: 8, 19: 9, 20: 9, 21: 10 };

/** The pieces of the file in order. Models of 2 GiB and more are refused: store their weights as float16. */
export function onnxChunks(model: OnnxModel): Uint8Array[] {
  const irVersion = IR_VERSIONS[model.opset];
  if (irVersion === undefined) {
    refuse('opset', `expected an operator set from ${Object.keys(IR_VERSIONS).join(', ')}, got ${model.opset}`);
  }
  checkGraph(model.graph, refuse);
  const pieces = [
    varintField(1, irVersion!),
    delimitedField(2, model.producer),
    delimitedField(8, concatBytes([delimitedField(1, ''), varintField(2, model.opset)])),
    ...Object.entries(model.metadata ?? {}).map(([key, value]) =>
      delimitedField(14, concatBytes([delimitedField(1, key), delimitedField(2, value)])),
    ),
    ...delimitedPieces(7, graphPieces(model.graph)),
  ];
  const length = pieces.reduce((sum, piece) => sum + piece.byteLength, 0);
  if (length > MAX_BYTES) refuse('too-large', `an ONNX file holds at most ${MAX_BYTES} bytes, this one has ${length}`);
  return pieces;
}

/** The whole file in one array. */
export function encodeOnnx(model: OnnxModel): Uint8Array {
  return concatBytes(onnxChunks(model));
}

function graphPieces(graph: OnnxGraph): Uint8Array[] {
  return [
    ...graph.nodes.flatMap((node) => delimitedPieces(1, nodePieces(node))),
    delimitedField(2, graph.name),
    ...[...graph.initializers].flatMap(([name, tensor]) => delimitedPieces(5, tensorPieces(tensor, name))),
    ...graph.inputs.map((value) => delimitedField(11, valueMessage(value))),
    ...graph.outputs.map((value) => delimitedField(12, valueMessage(value))),
  ];
}

function nodePieces({ op, name, inputs, outputs, attributes }: OnnxNode): Uint8Array[] {
  return [
    ...inputs.map((input) => delimitedField(1, input)),
    ...outputs.map((output) => delimitedField(2, output)),
    delimitedField(3, name),
    delimitedField(4, op),
    ...Object.entries(attributes).flatMap(([key, value]) => delimitedPieces(5, attributePieces(key, value))),
  ];
}

function attributePieces(name: string, value: OnnxAttribute): Uint8Array[] {
  const type = (number: number): Uint8Array => varintField(20, number);
  const head = delimitedField(1, name);
  if ('float' in value) return [head, floatField(2, value.float), type(1)];
  if ('int' in value) return [head, varintField(3, value.int), type(2)];
  if ('text' in value) return [head, delimitedField(4, value.text), type(3)];
  if ('tensor' in value) return [head, ...delimitedPieces(5, tensorPieces(value.tensor, '')), type(4)];
  return [head, ...value.ints.map((item) => varintField(8, item)), type(7)];
}

function tensorPieces(tensor: OnnxTensor, name: string): Uint8Array[] {
  checkTensor(`tensor "${name}"`, tensor, refuse);
  return [
    ...tensor.shape.map((side) => varintField(1, side)),
    varintField(2, dtypeNumber(tensor)),
    delimitedField(8, name),
    ...delimitedPieces(9, [tensor.bytes]),
  ];
}

function valueMessage(value: OnnxValue): Uint8Array {
  const sides = value.shape.map((side) =>
    delimitedField(1, typeof side === 'number' ? varintField(1, side) : delimitedField(2, side)),
  );
  const tensorType = concatBytes([varintField(1, dtypeNumber(value)), delimitedField(2, concatBytes(sides))]);
  return concatBytes([delimitedField(1, value.name), delimitedField(2, delimitedField(1, tensorType))]);
}

function dtypeNumber({ dtype }: Pick<OnnxValue, 'dtype'>): number {
  return ONNX_DTYPES.get(dtype) ?? refuse('dtype', `${dtype} cannot be stored in an ONNX file`);
}

function refuse(rule: string, message: string): never {
  throw new FormatError(`onnx.write-${rule}`, message, { file: 'ONNX writer' });
}
