/**
 * Writes the pickle inside a PyTorch checkpoint: protocol 2, as torch.save chooses, and only names that
 * `torch.load(weights_only=True)` admits. Tensors are named by persistent ids; their bytes are the archive's business
 * (`write.ts`). Equal texts and equal names are written once and fetched from the memo after that.
 */
import { byteSizeOf, type DType, elementCount } from '../dtype.ts';
import { FormatError } from '../format-error.ts';
import type { TensorToWrite } from '../safetensors/write.ts';
import { TorchTensor } from './tensor.ts';
import { isKey, type TorchKey } from './values.ts';

/** What can be written. Whole numbers become int, others float; arrays lists, maps dicts. */
export type TorchWritable =
  | TorchKey
  | PickleFloat
  | PickleTuple
  | readonly TorchWritable[]
  | ReadonlyMap<TorchKey, TorchWritable>
  | TensorToWrite
  | TorchTensor;

/** A number that is a float even where it is whole, such as a learning rate of 1. */
export class PickleFloat {
  readonly value: number;

  constructor(value: number) {
    this.value = value;
  }
}

/** Written as a tuple, such as AdamW's betas. */
export class PickleTuple {
  readonly items: readonly TorchWritable[];

  constructor(items: readonly TorchWritable[]) {
    this.items = items;
  }
}

/** Written as a collections.OrderedDict: what Module.state_dict() returns. */
export class OrderedDict<Value extends TorchWritable = TorchWritable> extends Map<TorchKey, Value> {}

/** Element types with a storage class; the others are written as untyped bytes with their dtype beside. */
const STORAGE_NAMES: Partial<Record<DType, string>> = {
  float64: 'DoubleStorage',
  float32: 'FloatStorage',
  float16: 'HalfStorage',
  bfloat16: 'BFloat16Storage',
  int64: 'LongStorage',
  int32: 'IntStorage',
  int16: 'ShortStorage',
  int8: 'CharStorage',
  uint8: 'ByteStorage',
  bool: 'BoolStorage',
  complex64: 'ComplexFloatStorage',
  complex128: 'ComplexDoubleStorage',
};

/** As many items as Python's pickler puts into one APPENDS or SETITEMS. */
const BATCH = 1000;

export interface PickleWithTensors {
  pickle: Uint8Array;
  /** By storage key, in order of appearance. */
  tensors: ReadonlyMap<string, TensorToWrite>;
}

/** The pickle of a value. One tensor object that appears twice shares its storage. */
export function writePickle(value: TorchWritable): PickleWithTensors {
  const writer = new PickleWriter();
  return writer.finish(value);
}

class PickleWriter {
  private bytes = new Uint8Array(1 << 12);
  private length = 0;
  private memoSize = 0;
  /** Texts by `"text`, names by `module name`. */
  private readonly memo = new Map<string, number>();
  private readonly keys = new Map<object, string>();
  private readonly tensors = new Map<string, TensorToWrite>();
  private readonly open = new Set<object>();

  finish(value: TorchWritable): PickleWithTensors {
    this.put(0x80, 2);
    this.write(value);
    this.put('.');
    return { pickle: this.bytes.slice(0, this.length), tensors: this.tensors };
  }

  private write(value: TorchWritable): void {
    if (isKey(value)) this.scalar(value);
    else if (value instanceof PickleFloat) this.float(value.value);
    else if (value instanceof PickleTuple) this.inside(value, () => this.tuple(value.items));
    else if (Array.isArray(value)) this.inside(value, () => this.list(value));
    else if (value instanceof Map) this.inside(value, () => this.dict(value));
    else this.tensor(value as TensorToWrite | TorchTensor);
  }

  private scalar(value: TorchKey): void {
    if (value === null) this.put('N');
    else if (typeof value === 'boolean') this.put(value ? 0x88 : 0x89);
    else if (typeof value === 'string') this.text(value);
    else if (typeof value === 'bigint' || Number.isSafeInteger(value)) this.integer(BigInt(value));
    else this.float(value);
  }

  private integer(value: bigint): void {
    if (value >= 0n && value < 0x100n) this.put('K', Number(value));
    else if (value >= 0n && value < 0x10000n) this.put('M', ...little(value, 2));
    else if (value >= -0x80000000n && value < 0x80000000n) this.put('J', ...little(value, 4));
    else {
      let size = 1;
      while (BigInt.asIntN(8 * size, value) !== value) size++;
      if (size > 255) fail('a whole number of more than 255 bytes');
      this.put(0x8a, size, ...little(value, size));
    }
  }

  private float(value: number): void {
    const view = new DataView(new ArrayBuffer(8));
    view.setFloat64(0, value, false);
    this.put('G', ...new Uint8Array(view.buffer));
  }

  private text(text: string): void {
    this.remembered(`"${text}`, () => {
      if (/\p{Surrogate}/u.test(text)) fail('a text that holds half of a surrogate pair');
      const bytes = new TextEncoder().encode(text);
      this.put('X', ...little(BigInt(bytes.length), 4));
      this.append(bytes);
    });
  }

  private global(module: string, name: string): void {
    this.remembered(`${module} ${name}`, () => {
      this.put('c');
      this.append(new TextEncoder().encode(`${module}\n${name}\n`));
    });
  }

  private tuple(items: readonly TorchWritable[]): void {
    const short = items.length <= 3;
    if (!short) this.put('(');
    for (const item of items) this.write(item);
    if (items.length === 0) {
      this.put(')');
      return;
    }
    this.put(short ? 0x84 + items.length : 't'); // TUPLE1, TUPLE2, TUPLE3
    this.memoize();
  }

  private list(items: readonly TorchWritable[]): void {
    this.put(']');
    this.memoize();
    this.batches(items, (item) => this.write(item), 'a', 'e');
  }

  private dict(map: ReadonlyMap<TorchKey, TorchWritable>): void {
    if (map instanceof OrderedDict) this.emptyOrderedDict();
    else this.put('}');
    this.memoize();
    const pair = ([key, value]: readonly [TorchKey, TorchWritable]): void => {
      this.scalar(key);
      this.write(value);
    };
    this.batches([...map], pair, 's', 'u');
  }

  private emptyOrderedDict(): void {
    this.global('collections', 'OrderedDict');
    this.put(')', 'R');
  }

  private batches<Item>(items: readonly Item[], write: (item: Item) => void, one: string, many: string): void {
    for (let start = 0; start < items.length; start += BATCH) {
      const batch = items.slice(start, start + BATCH);
      if (batch.length > 1) this.put('(');
      for (const item of batch) write(item);
      this.put(batch.length > 1 ? many : one);
    }
  }

  /** _rebuild_tensor_v2(storage, offset, size, strides, requires_grad, backward_hooks). */
  private tensor(given: TensorToWrite | TorchTensor): void {
    const tensor = given instanceof TorchTensor ? readLater(given) : given;
    const { dtype, shape } = tensor;
    const count = elementCount(shape);
    if (count === null) fail(`a tensor whose shape [${shape.join(', ')}] is none`);
    const storage = STORAGE_NAMES[dtype];
    this.global('torch._utils', storage === undefined ? '_rebuild_tensor_v3' : '_rebuild_tensor_v2');
    this.put('(');
    this.storageId(this.keyOf(given, tensor), storage, storage === undefined ? bytesIn(tensor, count!) : count!);
    this.integer(0n);
    this.tuple(shape);
    this.tuple(contiguousStrides(shape));
    this.put(0x89);
    this.emptyOrderedDict();
    this.memoize();
    if (storage === undefined) this.global('torch', dtype);
    this.put('t');
    this.memoize();
    this.put('R');
    this.memoize();
  }

  /** ('storage', class, key, location, number of elements). */
  private storageId(key: string, storage: string | undefined, count: number): void {
    this.put('(');
    this.text('storage');
    if (storage === undefined) this.global('torch.storage', 'UntypedStorage');
    else this.global('torch', storage);
    this.text(key);
    this.text('cpu');
    this.integer(BigInt(count));
    this.put('t');
    this.memoize();
    this.put('Q');
  }

  private keyOf(identity: object, tensor: TensorToWrite): string {
    const known = this.keys.get(identity);
    if (known !== undefined) return known;
    const key = String(this.tensors.size);
    this.keys.set(identity, key);
    this.tensors.set(key, tensor);
    return key;
  }

  /** Refuses values that hold themselves. */
  private inside(value: object, body: () => void): void {
    if (this.open.has(value)) fail('a value that holds itself');
    this.open.add(value);
    body();
    this.open.delete(value);
  }

  private remembered(id: string, write: () => void): void {
    const slot = this.memo.get(id);
    if (slot === undefined) {
      write();
      this.memo.set(id, this.memoSize);
      this.memoize();
    } else if (slot < 256) this.put('h', slot);
    else this.put('j', ...little(BigInt(slot), 4));
  }

  private memoize(): void {
    const slot = this.memoSize++;
    if (slot < 256) this.put('q', slot);
    else this.put('r', ...little(BigInt(slot), 4));
  }

  private put(...codes: (string | number)[]): void {
    this.append(Uint8Array.from(codes, (code) => (typeof code === 'string' ? code.charCodeAt(0) : code)));
  }

  private append(bytes: Uint8Array): void {
    if (this.length + bytes.length > this.bytes.length) {
      const larger = new Uint8Array(2 * (this.length + bytes.length));
      larger.set(this.bytes.subarray(0, this.length));
      this.bytes = larger;
    }
    this.bytes.set(bytes, this.length);
    this.length += bytes.length;
  }
}

function readLater(tensor: TorchTensor): TensorToWrite {
  return { dtype: tensor.dtype, shape: tensor.shape, bytes: () => tensor.contiguousBytes() };
}

/** As torch counts them: an axis of size 0 or 1 has the stride that it would have if the one after it were larger. */
function contiguousStrides(shape: readonly number[]): number[] {
  const strides: number[] = [];
  let stride = 1;
  for (const size of shape.toReversed()) {
    strides.unshift(stride);
    stride *= Math.max(1, size);
  }
  return strides;
}

function bytesIn({ dtype }: TensorToWrite, count: number): number {
  return count * byteSizeOf(dtype);
}

/** Two's complement, lowest byte first. */
function little(value: bigint, size: number): number[] {
  return Array.from({ length: size }, (_, i) => Number((value >> BigInt(8 * i)) & 0xffn));
}

function fail(what: string): never {
  throw new FormatError('pickle.write', `${what} cannot be written`, { file: 'checkpoint writer' });
}
