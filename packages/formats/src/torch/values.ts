/**
 * What a checkpoint can hold once read: plain data and tensors, nothing that could run.
 *
 * dict and OrderedDict become `Map` (keys: texts, numbers, booleans, None), list, tuple and `torch.Size` arrays,
 * set and frozenset `Set`. Whole numbers above 2^53 are bigint. Attributes that PyTorch hangs on an
 * OrderedDict (`_metadata`) are dropped.
 */
import type { DType } from '../dtype.ts';
import type { TorchStorage, TorchTensor } from './tensor.ts';

export type TorchKey = string | number | bigint | boolean | null;

export type TorchValue =
  | TorchKey
  | Uint8Array
  | TorchValue[]
  | TorchDict
  | Set<TorchKey>
  | TorchTensor
  | TorchStorage
  | TorchNamespace
  | TorchDevice
  | TorchDTypeValue;

export type TorchDict = Map<TorchKey, TorchValue>;

/** An `argparse.Namespace`. */
export interface TorchNamespace {
  readonly kind: 'namespace';
  readonly fields: Map<string, TorchValue>;
}

/** A `torch.device`: type `cpu`, `cuda` ..., index or null. */
export interface TorchDevice {
  readonly kind: 'device';
  readonly type: string;
  readonly index: number | null;
}

/** A `torch.float32` and the like as a value of its own. */
export interface TorchDTypeValue {
  readonly kind: 'dtype';
  readonly dtype: DType;
}

/** Only while a pickle is being read: a name from the list of known ones, not yet called. */
export interface PickleGlobal {
  readonly kind: 'global';
  readonly name: string;
  /** Set for storage classes: element type, uint8 for the untyped one. */
  readonly storageDType?: DType;
  /** Builds the value of a call; absent for names that are only data. */
  readonly call?: (args: readonly PickleValue[], context: CallContext) => PickleValue;
}

/** Only while a pickle is being read: a `numpy.dtype` whose byte order comes in a second step. */
export interface NumpyDTypeValue {
  readonly kind: 'numpy-dtype';
  /** As `f8`. */
  readonly code: string;
  bigEndian: boolean;
}

export type PickleValue = TorchValue | PickleGlobal | NumpyDTypeValue;

export interface CallContext {
  fail(rule: string, message: string): never;
  /** Counts memory in units of about 16 bytes; throws above the budget. */
  charge(units: number): void;
}

export function isKey(value: unknown): value is TorchKey {
  const type = typeof value;
  return value === null || type === 'string' || type === 'number' || type === 'bigint' || type === 'boolean';
}

/** The `kind` of tagged values, undefined for all others. */
export function kindOf(value: unknown): string | undefined {
  return typeof value === 'object' && value !== null && 'kind' in value ? String(value.kind) : undefined;
}

/** A value named for an error message. */
export function describe(value: unknown): string {
  if (value === undefined) return 'nothing';
  if (isKey(value)) return typeof value === 'string' ? `"${value.slice(0, 40)}"` : String(value);
  const kind = kindOf(value);
  if (kind === 'global') return (value as PickleGlobal).name;
  return kind ?? (value as object).constructor.name;
}
