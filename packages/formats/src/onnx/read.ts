/**
 * Reads ONNX models as this package writes them: to test exports and to look into them. Every length is bounded by the
 * file, nothing nests deeper than the format itself, and the graph must be in order. Fields that carry nothing we use
 * are skipped; what would change the meaning of a graph (sub-graphs, external or untyped data) is refused by name.
 */
import type { ByteReader } from '../byte-reader.ts';
import { dataViewOf } from '../byte-reader.ts';
import type { DType } from '../dtype.ts';
import { FormatError } from '../format-error.ts';
import { type Field, parseFields, parsePackedVarints } from '../protobuf.ts';
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
  type Refuse,
} from './model.ts';

/** The whole model; initializers are views on the file's bytes. */
export function readOnnx(reader: ByteReader): OnnxModel {
  return new OnnxReader(reader.name).model(reader.read(0, reader.byteLength));
}

const DTYPES_BY_NUMBER = new Map([...ONNX_DTYPES].map(([dtype, number]) => [number, dtype]));

class OnnxReader {
  private readonly file: string;

  constructor(file: string) {
    this.file = file;
  }

  model(bytes: Uint8Array): OnnxModel {
    let opset = 0;
    let producer = '';
    let graph: OnnxGraph | undefined;
    const metadata: Record<string, string> = Object.create(null);
    for (const field of this.fields(bytes)) {
      if (field.field === 2) producer = this.text(field);
      if (field.field === 8) opset = this.opset(this.bytes(field)) ?? opset;
      if (field.field === 7) {
        if (graph !== undefined) this.refuse('graph', 'the model has two graphs');
        graph = this.graph(this.bytes(field));
      }
      if (field.field === 14) {
        const [key, value] = this.entry(this.bytes(field));
        metadata[key] = value;
      }
      if (field.field === 25) this.refuse('functions', 'the model defines functions of its own, which are not read');
    }
    if (graph === undefined) this.refuse('graph', 'the file holds no graph: it was cut, or is no ONNX model');
    if (opset === 0) this.refuse('opset', 'the model does not say its operator set');
    return { opset, producer, graph: graph!, ...(Object.keys(metadata).length > 0 ? { metadata } : {}) };
  }

  /** The version where the domain is the standard one. */
  private opset(bytes: Uint8Array): number | undefined {
    let domain = '';
    let version = 0;
    for (const field of this.fields(bytes)) {
      if (field.field === 1) domain = this.text(field);
      if (field.field === 2) version = this.integer(field);
    }
    return domain === '' || domain === 'ai.onnx' ? version : undefined;
  }

  private entry(bytes: Uint8Array): [key: string, value: string] {
    const entry: [string, string] = ['', ''];
    for (const field of this.fields(bytes)) {
      if (field.field === 1 || field.field === 2) entry[field.field - 1] = this.text(field);
    }
    return entry;
  }

  private graph(bytes: Uint8Array): OnnxGraph {
    let name = '';
    const nodes: OnnxNode[] = [];
    const initializers = new Map<string, OnnxTensor>();
    const inputs: OnnxValue[] = [];
    const outputs: OnnxValue[] = [];
    for (const field of this.fields(bytes)) {
      if (field.field === 1) nodes.push(this.node(this.bytes(field)));
      if (field.field === 2) name = this.text(field);
      if (field.field === 5) {
        const [key, tensor] = this.tensor(this.bytes(field));
        if (initializers.has(key)) this.refuse('name', `the initializer "${key}" occurs twice`);
        initializers.set(key, tensor);
      }
      if (field.field === 11) inputs.push(this.value(this.bytes(field)));
      if (field.field === 12) outputs.push(this.value(this.bytes(field)));
      if (field.field === 15) this.refuse('sparse', 'sparse initializers are not read');
    }
    // Old models list their initializers among the inputs, as defaults.
    const graph = {
      name,
      nodes,
      initializers,
      inputs: inputs.filter((input) => !initializers.has(input.name)),
      outputs,
    };
    checkGraph(graph, this.refuse);
    return graph;
  }

  private node(bytes: Uint8Array): OnnxNode {
    let [op, name] = ['', ''];
    const inputs: string[] = [];
    const outputs: string[] = [];
    const attributes: Record<string, OnnxAttribute> = Object.create(null);
    for (const field of this.fields(bytes)) {
      if (field.field === 1) inputs.push(this.text(field));
      if (field.field === 2) outputs.push(this.text(field));
      if (field.field === 3) name = this.text(field);
      if (field.field === 4) op = this.text(field);
      if (field.field === 5) {
        const [key, value] = this.attribute(this.bytes(field));
        attributes[key] = value;
      }
    }
    if (op === '') this.refuse('node', `node "${name}" does not say its operation`);
    return { op, name, inputs, outputs, attributes };
  }

  private attribute(bytes: Uint8Array): [name: string, value: OnnxAttribute] {
    let name = '';
    let type = 0;
    let single: OnnxAttribute | undefined;
    const ints: number[] = [];
    for (const field of this.fields(bytes)) {
      // No spread of lists below: a hostile one would be longer than a call's arguments may be.
      if (field.field === 1) name = this.text(field);
      if (field.field === 2) single = { float: this.float(field) };
      if (field.field === 3) single = { int: this.integer(field) };
      if (field.field === 4) single = { text: this.text(field) };
      if (field.field === 5) single = { tensor: this.tensor(this.bytes(field))[1] };
      if (field.field === 8) for (const item of this.integers(field)) ints.push(item);
      if (field.field === 20) type = this.integer(field);
    }
    const kinds = { float: 1, int: 2, text: 3, tensor: 4 };
    if (type === 7 && single === undefined) return [name, { ints }];
    const kind = single === undefined ? undefined : kinds[Object.keys(single)[0] as keyof typeof kinds];
    if (single === undefined || kind !== type || ints.length > 0) {
      this.refuse(
        'attribute',
        `attribute "${name}": expected one number, text, tensor or list of integers (type ${type})`,
      );
    }
    return [name, single!];
  }

  private tensor(bytes: Uint8Array): [name: string, tensor: OnnxTensor] {
    let name = '';
    let dtype: DType | undefined;
    let raw: Uint8Array | undefined;
    let elsewhere = false;
    const shape: number[] = [];
    for (const field of this.fields(bytes)) {
      if (field.field === 1) for (const size of this.integers(field)) shape.push(size);
      if (field.field === 2) dtype = this.dtype(field);
      if (field.field === 8) name = this.text(field);
      if (field.field === 9) raw = this.bytes(field);
      if ([4, 5, 6, 7, 10, 11, 13].includes(field.field)) elsewhere = true;
    }
    if (dtype === undefined) this.refuse('dtype', `tensor "${name}" does not say its element type`);
    if (elsewhere) {
      this.refuse(
        'tensor-data',
        `tensor "${name}" keeps its values in another file or in typed lists: only raw data is read`,
      );
    }
    const tensor = { dtype: dtype!, shape, bytes: raw ?? new Uint8Array(0) };
    checkTensor(`tensor "${name}"`, tensor, this.refuse);
    return [name, tensor];
  }

  private value(bytes: Uint8Array): OnnxValue {
    let name = '';
    let type: Uint8Array | undefined;
    for (const field of this.fields(bytes)) {
      if (field.field === 1) name = this.text(field);
      if (field.field === 2) type = this.bytes(field);
    }
    let dtype: DType | undefined;
    const shape: (number | string)[] = [];
    for (const field of this.fields(type ?? new Uint8Array(0))) {
      if (field.field !== 1) this.refuse('type', `value "${name}": expected a tensor`);
      for (const part of this.fields(this.bytes(field))) {
        if (part.field === 1) dtype = this.dtype(part);
        if (part.field === 2) for (const side of this.fields(this.bytes(part))) shape.push(this.side(this.bytes(side)));
      }
    }
    if (dtype === undefined) this.refuse('type', `value "${name}" does not say its element type`);
    return { name, dtype: dtype!, shape };
  }

  private side(bytes: Uint8Array): number | string {
    let side: number | string = '';
    for (const field of this.fields(bytes)) {
      if (field.field === 1) side = this.integer(field);
      if (field.field === 2) side = this.text(field);
    }
    return side;
  }

  private fields(bytes: Uint8Array): Generator<Field> {
    return parseFields(bytes, (message) => this.refuse('message', message));
  }

  private bytes(field: Field): Uint8Array {
    return field.wire === 'delimited' ? field.bytes : this.refuse('wire', `field ${field.field}: expected a message`);
  }

  private text(field: Field): string {
    try {
      return new TextDecoder('utf-8', { fatal: true }).decode(this.bytes(field));
    } catch (error) {
      if (error instanceof FormatError) throw error;
      return this.refuse('text', 'a text is not valid UTF-8');
    }
  }

  private integer(field: Field): number {
    return this.integers(field)[0] ?? this.refuse('wire', `field ${field.field}: expected a number`);
  }

  /** One number, or several packed into one field. */
  private integers(field: Field): number[] {
    if (field.wire !== 'varint' && field.wire !== 'delimited')
      this.refuse('wire', `field ${field.field}: expected integers`);
    const values =
      field.wire === 'varint'
        ? [field.value]
        : parsePackedVarints(this.bytes(field), (message) => this.refuse('message', message));
    return values.map((value) => {
      const number = Number(BigInt.asIntN(64, value));
      return Number.isSafeInteger(number) ? number : this.refuse('number', `${value} is beyond 2^53`);
    });
  }

  private float(field: Field): number {
    if (field.wire !== 'fixed32') this.refuse('wire', `field ${field.field}: expected a float`);
    return dataViewOf((field as { bytes: Uint8Array }).bytes).getFloat32(0, true);
  }

  private dtype(field: Field): DType {
    const number = this.integer(field);
    return DTYPES_BY_NUMBER.get(number) ?? this.refuse('dtype', `element type ${number} is not read`);
  }

  private readonly refuse: Refuse = (rule, message) => {
    throw new FormatError(`onnx.${rule}`, message, { file: this.file });
  };
}
