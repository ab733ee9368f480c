/**
 * The state dict inside a weights file as people publish it: safetensors, or a PyTorch checkpoint that is bare or wrapped
 * as training scripts wrap it, with or without the prefixes that wrappers leave on names. Nothing is executed, and no
 * tensor is read before it is asked for.
 */

import {
  type DType,
  FormatError,
  flattenStateDict,
  readSafetensorsHeader,
  readTensorBytes,
  readTorchCheckpoint,
  type TensorToWrite,
  TorchTensor,
  type TorchValue,
} from '@tessera/formats';
import type { FileByteReader } from '@tessera/formats/node';
import { PipelineError } from '../events.ts';
import { recogniseFile } from '../inspect/recognise.ts';

/** A tensor that is still in its file. */
export interface FileTensor extends TensorToWrite {
  readonly dtype: DType;
  readonly bytes: () => Uint8Array;
}

export interface WeightsInFile {
  /** By official name, in the file's order; valid while the reader is open. */
  tensors: Map<string, FileTensor>;
  /** The entry that they are in, such as `model`; empty for a bare state dict. */
  entry: string;
  format: 'safetensors' | 'torch';
  /** Other entries that hold weights. */
  others: string[];
}

/** Entries that hold weights, in the order in which the official scripts look; `ema` is asked for by name. */
const ENTRIES = ['model', 'state_dict', 'module', 'ema'];
/** What DistributedDataParallel and torch.compile put before every name. */
const PREFIXES = ['module.', '_orig_mod.'];
/** What LlamaGen's models hold besides weights: tables that are computed, and what generating leaves behind. */
const COMPUTED = /(^|\.)(kv_cache\.[kv]_cache|freqs_cis|causal_mask)$/;

/** @param entry which of several state dicts, such as `ema` */
export function readWeights(reader: FileByteReader, entry?: string): WeightsInFile {
  const format = recogniseFile(reader);
  if (format === 'safetensors') {
    const { tensors } = readSafetensorsHeader(reader);
    const lazy = [...tensors].map(([name, tensor]) => {
      const { dtype, shape } = tensor;
      return [name, { dtype, shape, bytes: () => readTensorBytes(reader, tensor) }] as const;
    });
    return { tensors: weightsAlone(new Map(lazy), reader.name), entry: '', format: 'safetensors', others: [] };
  }
  if (format !== 'torch-zip' && format !== 'torch-legacy') {
    throw new PipelineError(
      'WEIGHTS',
      `${reader.name}: expected weights (safetensors or a PyTorch file), got ${format}.`,
    );
  }
  const value = readTorchCheckpoint(reader, { verify: true });
  const found = chooseEntry(value, entry, reader.name);
  const tensors = [...flattenStateDict(value, found.entry === '' ? [] : [found.entry])].map(([name, tensor]) => {
    const { dtype, shape } = tensor;
    return [name, { dtype, shape, bytes: () => tensor.contiguousBytes() }] as const;
  });
  return { tensors: weightsAlone(new Map(tensors), reader.name), format: 'torch', ...found };
}

function chooseEntry(
  value: TorchValue,
  wanted: string | undefined,
  where: string,
): { entry: string; others: string[] } {
  if (value instanceof Map && wanted === undefined && [...value.values()].some((item) => item instanceof TorchTensor)) {
    return { entry: '', others: [] };
  }
  const entries =
    value instanceof Map ? [...value].filter(([, item]) => holdsTensors(item)).map(([key]) => String(key)) : [];
  const entry = wanted ?? ENTRIES.find((name) => entries.includes(name));
  if (entry === undefined || !entries.includes(entry)) {
    const there =
      value instanceof Map ? `there is ${[...value.keys()].slice(0, 12).map(String).join(', ')}` : 'it is no dict';
    const expected =
      wanted === undefined ? `a state dict, bare or under ${ENTRIES.join(', ')}` : `weights under "${wanted}"`;
    throw new PipelineError('WEIGHTS', `${where}: expected ${expected}; ${there || 'it is empty'}.`);
  }
  return { entry, others: entries.filter((name) => name !== entry && ENTRIES.includes(name)) };
}

function holdsTensors(value: TorchValue): boolean {
  return value instanceof Map && [...value.values()].some((item) => item instanceof TorchTensor);
}

function weightsAlone(tensors: Map<string, FileTensor>, where: string): Map<string, FileTensor> {
  return withoutPrefixes(new Map([...tensors].filter(([name]) => !COMPUTED.test(name))), where);
}

function withoutPrefixes(tensors: Map<string, FileTensor>, where: string): Map<string, FileTensor> {
  if (tensors.size === 0) throw new FormatError('weights.none', 'holds no tensors', { file: where });
  const prefix = PREFIXES.find((text) => [...tensors.keys()].every((name) => name.startsWith(text)));
  if (prefix === undefined) return tensors;
  return withoutPrefixes(new Map([...tensors].map(([name, tensor]) => [name.slice(prefix.length), tensor])), where);
}
