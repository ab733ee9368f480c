/**
 * Names, shapes and dtypes of a tensor file, read from headers alone: no tensor is loaded, nothing is executed, and a
 * hostile file costs no more than its size.
 */

import {
  type ByteReader,
  byteLengthOf,
  type DType,
  elementCount,
  type OnnxModel,
  readNpyHeader,
  readNpz,
  readOnnx,
  readSafetensorsHeader,
  readTorchCheckpoint,
  type TorchNamespace,
  TorchStorage,
  TorchTensor,
  type TorchValue,
} from '@tessera/formats';
import { withFile } from '@tessera/formats/node';
import { PipelineError } from '../events.ts';
import type { FileInspection, TensorRow, ValueRow } from './inspection.ts';
import { type FileFormat, recogniseFile } from './recognise.ts';

const MOST_VALUES = 200;
/** Lists that name each other's parts again unfold to far more than their file; no real checkpoint comes near. */
const MOST_ENTRIES = 1_000_000;
const LONGEST_VALUE = 60;

type Contents = Pick<FileInspection, 'metadata' | 'values' | 'moreValues'> & { tensors: TensorRow[] };

/** @param filter only tensors and values whose name holds this text */
export function inspectFile(path: string, filter = ''): FileInspection {
  return withFile(path, (reader) => {
    const format = recogniseFile(reader);
    const { tensors, values, ...rest } = contentsOf(reader, format, filter);
    return {
      kind: 'file',
      path,
      format: NAMES[format],
      byteLength: reader.byteLength,
      tensors: tensors.filter(({ name }) => name.includes(filter)),
      values,
      ...rest,
      totals: {
        tensors: tensors.length,
        elements: sum(tensors.map(({ shape }) => elementCount(shape) ?? 0)),
        byteLength: sum(tensors.map(({ byteLength }) => byteLength)),
      },
    };
  });
}

const NAMES: Record<FileFormat, string> = {
  safetensors: 'safetensors',
  npy: 'npy',
  npz: 'npz',
  'torch-zip': 'PyTorch checkpoint',
  'torch-legacy': 'PyTorch checkpoint, legacy layout',
  onnx: 'ONNX',
};

function contentsOf(reader: ByteReader, format: FileFormat, filter: string): Contents {
  switch (format) {
    case 'safetensors': {
      const header = readSafetensorsHeader(reader);
      const tensors = [...header.tensors].map(([name, { dtype, shape }]) => row(name, dtype, shape));
      return { ...NOTHING, tensors, metadata: { ...header.metadata } };
    }
    case 'npy': {
      const { dtype, shape } = readNpyHeader(reader);
      return { ...NOTHING, tensors: [row('array', dtype, shape)] };
    }
    case 'npz': {
      const archive = readNpz(reader);
      const tensors = [...archive.keys()].map((name) => {
        const { dtype, shape } = archive.header(name)!;
        return row(name, dtype, shape);
      });
      return { ...NOTHING, tensors };
    }
    case 'onnx':
      return modelContents(readOnnx(reader), filter);
    case 'torch-zip':
    case 'torch-legacy':
      return checkpointContents(readTorchCheckpoint(reader), filter);
    default:
      return format satisfies never;
  }
}

const NOTHING = { metadata: {}, values: [], moreValues: 0 };

function row(name: string, dtype: DType, shape: readonly number[]): TensorRow {
  return { name, dtype, shape, byteLength: byteLengthOf(dtype, shape) ?? 0 };
}

/** Initializers as tensors; inputs, outputs and how often each operation occurs as values. */
function modelContents({ opset, producer, graph, metadata }: OnnxModel, filter: string): Contents {
  const tensors = [...graph.initializers].map(([name, { dtype, shape }]) => row(name, dtype, shape));
  const ends = (['inputs', 'outputs'] as const).flatMap((kind) =>
    graph[kind].map(({ name, dtype, shape }) => ({
      name: `${kind}.${name}`,
      value: cut(`${dtype} [${shape.join(', ')}]`),
    })),
  );
  const counts = new Map<string, number>();
  for (const { op } of graph.nodes) counts.set(op, (counts.get(op) ?? 0) + 1);
  const nodes = [...counts].sort(([a], [b]) => (a < b ? -1 : 1));
  const values = [...ends, ...nodes.map(([op, count]) => ({ name: `nodes.${op}`, value: String(count) }))];
  const shown = values.filter(({ name }) => name.includes(filter));
  return {
    tensors,
    values: shown.slice(0, MOST_VALUES),
    moreValues: Math.max(0, shown.length - MOST_VALUES),
    metadata: { ...metadata, opset: String(opset), producer },
  };
}

/** The reader has checked that the value is a tree of bounded depth and size, so plain recursion is safe. */
function checkpointContents(value: TorchValue, filter: string): Contents {
  const tensors: TensorRow[] = [];
  const values: ValueRow[] = [];
  let moreValues = 0;
  let entries = 0;
  const visit = (node: TorchValue, name: string): void => {
    if (++entries > MOST_ENTRIES) {
      throw new PipelineError('INSPECT_TOO_LARGE', `the checkpoint holds more than ${MOST_ENTRIES} entries`);
    }
    if (node instanceof TorchTensor) {
      tensors.push(row(name === '' ? 'tensor' : name, node.dtype, node.shape));
      return;
    }
    const inside = holdsContainers(node) ? childrenOf(node) : undefined;
    if (inside !== undefined) {
      for (const [key, child] of inside) visit(child, name === '' ? String(key) : `${name}.${String(key)}`);
    } else if (name.includes(filter)) {
      if (values.length < MOST_VALUES) values.push({ name: name === '' ? 'value' : name, value: short(node) });
      else moreValues++;
    }
  };
  visit(value, '');
  return { tensors, values, moreValues, metadata: {} };
}

/** Lists of plain values are shown as one; whatever may hold a tensor is walked. */
function holdsContainers(node: TorchValue): boolean {
  if (Array.isArray(node)) return node.some((child) => typeof child === 'object' && child !== null);
  return childrenOf(node) !== undefined;
}

function childrenOf(node: TorchValue): Iterable<readonly [unknown, TorchValue]> | undefined {
  if (node instanceof Map) return node.size > 0 ? node : undefined;
  if (Array.isArray(node)) return node.entries();
  return isNamespace(node) ? node.fields : undefined;
}

function isNamespace(node: TorchValue): node is TorchNamespace {
  return typeof node === 'object' && node !== null && 'kind' in node && node.kind === 'namespace';
}

function short(node: TorchValue): string {
  if (typeof node === 'string') return JSON.stringify(cut(node));
  if (node === null) return 'None';
  if (node === true) return 'True';
  if (node === false) return 'False';
  if (typeof node !== 'object') return String(node);
  if (node instanceof Uint8Array) return `${node.length} bytes`;
  if (node instanceof TorchStorage) return `storage of ${node.byteLength} bytes, ${node.dtype}`;
  if (node instanceof Set) return `set of ${node.size}`;
  if (node instanceof Map) return '{}';
  if (Array.isArray(node)) return shortList(node);
  if (node instanceof TorchTensor || isNamespace(node)) return '';
  if (node.kind === 'device') return node.index === null ? node.type : `${node.type}:${node.index}`;
  return node.dtype;
}

function shortList(list: readonly TorchValue[]): string {
  const shown: string[] = [];
  for (const item of list) {
    const next = short(item);
    if (shown.length >= 8 || shown.join(', ').length + next.length > LONGEST_VALUE) break;
    shown.push(next);
  }
  if (shown.length === list.length) return `[${shown.join(', ')}]`;
  return `[${shown.join(', ')}, …] (${list.length})`;
}

function cut(text: string): string {
  return text.length > LONGEST_VALUE ? `${text.slice(0, LONGEST_VALUE)}…` : text;
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, value) => total + value, 0);
}
