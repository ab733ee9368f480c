/**
 * The names that a checkpoint may use, and what each builds. This list is the whole of what a pickle can reach.
 *
 * PyTorch's own names: torch/_utils.py (`_rebuild_tensor_v2` ...), torch/storage.py. `_codecs.encode` is how
 * protocol 2 spells bytes. numpy is here for the scalars that training scripts leave in their state.
 */
import { byteSwapUnit, type DType, isDType, swapBytes, typedArrayOf } from '../dtype.ts';
import { NPY_CODES } from '../npy/header.ts';
import { narrow } from './pickle-numbers.ts';
import { TorchStorage, TorchTensor, tensorProblem } from './tensor.ts';
import type { PickleValue, TorchDict, TorchDTypeValue, TorchKey, TorchValue } from './values.ts';
import { type CallContext, describe, isKey, kindOf, type NumpyDTypeValue, type PickleGlobal } from './values.ts';

type Args = readonly PickleValue[];

const LARGEST_RANK = 64;
/** A tensor and its arrays, in the machine's units of 16 bytes. */
const TENSOR_UNITS = 20;

const STORAGE_CLASSES: Readonly<Record<string, DType>> = {
  DoubleStorage: 'float64',
  FloatStorage: 'float32',
  HalfStorage: 'float16',
  BFloat16Storage: 'bfloat16',
  LongStorage: 'int64',
  IntStorage: 'int32',
  ShortStorage: 'int16',
  CharStorage: 'int8',
  ByteStorage: 'uint8',
  BoolStorage: 'bool',
  ComplexFloatStorage: 'complex64',
  ComplexDoubleStorage: 'complex128',
  UntypedStorage: 'uint8',
};

const CALLS: ReadonlyMap<string, NonNullable<PickleGlobal['call']>> = new Map([
  ['torch._utils._rebuild_tensor', (args: Args, context: CallContext) => rebuildTensor(args.slice(0, 4), context)],
  ['torch._utils._rebuild_tensor_v2', rebuildTensor],
  ['torch._utils._rebuild_tensor_v3', rebuildTensorOfDType],
  ['torch._utils._rebuild_parameter', rebuildParameter],
  ['torch.Size', (args: Args, context: CallContext) => copyList(args, context)],
  ['torch.device', makeDevice],
  ['collections.OrderedDict', makeDict],
  ['argparse.Namespace', makeNamespace],
  ['builtins.set', makeSet],
  ['builtins.frozenset', makeSet],
  ['builtins.bytes', makeBytes],
  ['builtins.bytearray', makeBytes],
  ['_codecs.encode', makeBytes],
  ['numpy.dtype', makeNumpyDType],
  ['numpy.core.multiarray.scalar', makeNumpyScalar],
  ['numpy._core.multiarray.scalar', makeNumpyScalar],
]);

/** The value of a global, or undefined if the name is not in the list. */
export function findGlobal(module: string, name: string): PickleGlobal | TorchDTypeValue | undefined {
  if (
    (module === 'torch' || module === 'torch.cuda' || module === 'torch.storage') &&
    Object.hasOwn(STORAGE_CLASSES, name)
  ) {
    return { kind: 'global', name: `${module}.${name}`, storageDType: STORAGE_CLASSES[name]! };
  }
  if (module === 'torch' && isDType(name)) return { kind: 'dtype', dtype: name };
  const full = `${module === '__builtin__' ? 'builtins' : module}.${name}`;
  const call = CALLS.get(full);
  return call && { kind: 'global', name: full, call };
}

/** (storage, offset, sizes, strides, requires_grad, backward_hooks, metadata); the last three may be missing. */
function rebuildTensor(args: Args, context: CallContext): TorchTensor {
  const storage = args[0];
  const dtype = storage instanceof TorchStorage ? storage.dtype : 'uint8';
  checkMetadata(args[6], context);
  return makeTensor(args, dtype, context);
}

/** As above with the element type in place 6: for types without a storage class of their own. */
function rebuildTensorOfDType(args: Args, context: CallContext): TorchTensor {
  const dtype = args[6];
  if (kindOf(dtype) !== 'dtype') return context.fail('tensor', `expected a dtype, got ${describe(dtype)}`);
  checkMetadata(args[7], context);
  return makeTensor(args, (dtype as TorchDTypeValue).dtype, context);
}

function makeTensor(args: Args, dtype: DType, context: CallContext): TorchTensor {
  const [storage, storageOffset, sizes, strides, requiresGrad = false] = args;
  if (!(storage instanceof TorchStorage)) return context.fail('tensor', `expected a storage, got ${describe(storage)}`);
  if (!isCount(storageOffset))
    return context.fail('tensor', `expected a storage offset, got ${describe(storageOffset)}`);
  const fields = {
    dtype,
    storage,
    storageOffset,
    shape: countList(sizes, context),
    strides: countList(strides, context),
    requiresGrad: requiresGrad === true,
  };
  context.charge(TENSOR_UNITS + 2 * fields.shape.length);
  const problem = tensorProblem(fields);
  if (problem !== null) return context.fail('tensor', `a tensor does not fit its storage: ${problem}`);
  return new TorchTensor(fields);
}

/** Lazily conjugated or negated views would need arithmetic on reading. */
function checkMetadata(metadata: PickleValue | undefined, context: CallContext): void {
  if (!(metadata instanceof Map)) return;
  if (metadata.get('conj') === true || metadata.get('neg') === true) {
    context.fail('tensor', 'a conjugated or negated view: save it after resolve_conj() and resolve_neg()');
  }
}

function rebuildParameter(args: Args, context: CallContext): TorchTensor {
  const [tensor, requiresGrad] = args;
  if (!(tensor instanceof TorchTensor)) return context.fail('tensor', `expected a tensor, got ${describe(tensor)}`);
  context.charge(TENSOR_UNITS);
  return new TorchTensor({ ...tensor, requiresGrad: requiresGrad === true });
}

function makeDevice(args: Args, context: CallContext): PickleValue {
  const [text, index] = args;
  const match = typeof text === 'string' ? /^([a-z_]{1,32})(?::(\d{1,4}))?$/.exec(text) : null;
  if (!match) return context.fail('device', `expected a device, got ${describe(text)}`);
  const number = match[2] === undefined ? index : Number(match[2]);
  return { kind: 'device', type: match[1]!, index: isCount(number) ? number : null };
}

/** Empty, or from a list of pairs (Python 2). */
function makeDict(args: Args, context: CallContext): TorchDict {
  const dict: TorchDict = new Map();
  for (const pair of args.length === 0 ? [] : copyList(args, context)) {
    if (!Array.isArray(pair) || pair.length !== 2 || !isKey(pair[0]))
      return context.fail('type', 'expected key and value');
    context.charge(4);
    dict.set(pair[0], pair[1]!);
  }
  return dict;
}

function makeNamespace(args: Args, context: CallContext): PickleValue {
  if (args.length > 0) return context.fail('type', 'expected a namespace without arguments');
  return { kind: 'namespace', fields: new Map() };
}

function makeSet(args: Args, context: CallContext): Set<TorchKey> {
  const items = args.length === 0 ? [] : copyList(args, context);
  context.charge(4 * items.length);
  return new Set(items.map((item) => (isKey(item) ? item : context.fail('key', `${describe(item)} in a set`))));
}

/** Empty, or Latin-1 text with the name of that encoding: how protocol 2 spells bytes. */
function makeBytes(args: Args, context: CallContext): Uint8Array {
  const [text, encoding] = args;
  if (args.length === 0) return new Uint8Array(0);
  if (args.length === 1 && text instanceof Uint8Array) return text;
  if (typeof text !== 'string' || (encoding !== 'latin1' && encoding !== 'latin-1')) {
    return context.fail('bytes', `expected Latin-1 text, got ${describe(text)} in ${describe(encoding)}`);
  }
  // Four times its memory: this walk is slow, and the same text may be encoded again and again.
  context.charge(text.length / 4);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code > 255) context.fail('bytes', 'a text for bytes holds a character above 255');
    bytes[i] = code;
  }
  return bytes;
}

function makeNumpyDType(args: Args, context: CallContext): NumpyDTypeValue {
  const code = args[0];
  if (typeof code !== 'string' || !NPY_CODES.has(code))
    return context.fail('numpy', `dtype ${describe(code)} is not supported`);
  return { kind: 'numpy-dtype', code, bigEndian: false };
}

function makeNumpyScalar(args: Args, context: CallContext): PickleValue {
  const [type, bytes] = args;
  if (kindOf(type) !== 'numpy-dtype' || !(bytes instanceof Uint8Array)) {
    return context.fail('numpy', 'expected a scalar as dtype and bytes');
  }
  const { code, bigEndian } = type as NumpyDTypeValue;
  const dtype = NPY_CODES.get(code)!;
  const unit = byteSwapUnit(dtype);
  if (dtype === 'float16' || dtype === 'complex64' || dtype === 'complex128' || bytes.byteLength !== unit) {
    return context.fail('numpy', `a scalar of dtype ${code} in ${bytes.byteLength} bytes is not supported`);
  }
  const value = typedArrayOf(dtype, bigEndian ? swapBytes(bytes, unit) : bytes)[0]!;
  if (dtype === 'bool') return value !== 0;
  return typeof value === 'bigint' ? narrow(value) : value;
}

/** A copy of the one list in the arguments, paid for: the same list may be copied again and again. */
function copyList(args: Args, context: CallContext): TorchValue[] {
  const [list] = args;
  if (args.length !== 1 || !Array.isArray(list))
    return context.fail('type', `expected one list, got ${describe(list)}`);
  context.charge(list.length);
  return [...list];
}

function countList(value: PickleValue | undefined, context: CallContext): number[] {
  if (!Array.isArray(value) || value.length > LARGEST_RANK || !value.every(isCount)) {
    return context.fail('tensor', `expected at most ${LARGEST_RANK} sizes or strides of 0 to 2^53 - 1`);
  }
  return [...value];
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}
