// The Tensor: a generation-checked handle to a libtorch tensor, its metadata, and every operation as a method. Memory
// belongs to scopes (scope.ts), not to the garbage collector; a tensor whose scope has ended throws when it is used.

import type { NestedNumbers } from './create.ts';
import { announced, registerTensorClass, wrap } from './dispatch.ts';
import { type DType, type TypedArray, typedArrayOver } from './dtype.ts';
import { TensorError } from './errors.ts';
import { TensorMethods } from './generated/tensor-methods.ts';
import { at, type Index, setAt } from './indexing.ts';
import { addon } from './native/addon.ts';
import { AddonError } from './native/locate-addon.ts';
import { shortMessage } from './torch-message.ts';

/** Where a tensor is. */
export type Device = 'cpu' | `cuda:${number}`;

export interface BackwardOptions {
  /** Keep the graph for another backward pass. */
  readonly retainGraph?: boolean;
  /** Make the gradients differentiable too (double backward); keeps the graph. */
  readonly createGraph?: boolean;
  /** Which leaves collect gradients; all that want one when left out. */
  readonly leaves?: readonly Tensor[] | undefined;
}

export class Tensor extends TensorMethods {
  /** The native handle: slot and generation in one number. */
  readonly handle: number;

  /** Not for users: tensors come from operations and from the functions of create.ts. */
  constructor(handle: number) {
    super();
    this.handle = handle;
  }

  get shape(): number[] {
    return guarded('shape', () => addon().shape(this.handle));
  }

  get dtype(): DType {
    return guarded('dtype', () => addon().dtype(this.handle)) as DType;
  }

  get device(): Device {
    return guarded('device', () => addon().device(this.handle)) as Device;
  }

  /** Number of entries. */
  get numel(): number {
    return guarded('numel', () => addon().numel(this.handle));
  }

  /** Size along one dimension; negative ones count from the end. */
  size(dim: number): number {
    const { shape } = this;
    const size = shape.at(dim);
    if (size === undefined) {
      const problem = `size: dimension ${dim} is outside the shape [${shape.join(', ')}]`;
      throw new TensorError('TORCH', problem, { operation: 'size' });
    }
    return size;
  }

  /** False once its scope has ended or dispose() was called. */
  get isLive(): boolean {
    return addon().isLive(this.handle);
  }

  /** Frees the memory now; a second call does nothing. */
  dispose(): void {
    addon().dispose(this.handle);
  }

  /** Casts to a dtype, moves to a device, or returns itself as a new handle where nothing changes. */
  to(target: DType | Device): Tensor {
    if (target === 'cpu' || target.startsWith('cuda')) {
      return guarded('to', () => wrap(addon().toDevice(this.handle, target)), this);
    }
    return this.toDtype(target as DType);
  }

  /** The same values in channels-last memory order, for convolutions: [N, C, Y, X] stays the shape. */
  channelsLast(): Tensor {
    return this.contiguous({ memoryFormat: 'channels_last' });
  }

  /** Steps in memory, in entries, from one index to the next along each dimension. */
  get strides(): number[] {
    return guarded('strides', () => addon().strides(this.handle));
  }

  /** Do the values lie in this order without gaps? */
  isContiguous(memoryFormat: 'contiguous_format' | 'channels_last' = 'contiguous_format'): boolean {
    return guarded('isContiguous', () => addon().isContiguous(this.handle, memoryFormat));
  }

  /**
   * NumPy's indexing: `x.at(0, '1:3', '...', null, [2, 0])` is Python's `x[0, 1:3, ..., None, [2, 0]]`. Integers, slices,
   * null and '...' give a view of the same memory, lists and tensors of indices and masks a copy.
   */
  at(...indices: readonly Index[]): Tensor {
    return at(this, indices);
  }

  /** `x[indices] = value`: a number, or a tensor that broadcasts to what the indices name. Returns itself. */
  setAt_(indices: readonly Index[], value: Tensor | number): this {
    setAt(this, indices, value);
    return this;
  }

  /** The raw values in C order, copied. */
  toBytes(): Uint8Array {
    return new Uint8Array(guarded('toBytes', () => addon().toBytes(this.handle)));
  }

  /** The values in C order, copied into the typed array of the dtype (int64 as bigint, halves as raw bits). */
  toTypedArray(): TypedArray {
    return typedArrayOver(
      this.dtype,
      guarded('toTypedArray', () => addon().toBytes(this.handle)),
    );
  }

  /**
   * The memory of a contiguous CPU tensor itself, without a copy: what is written here is in the tensor, and the other way
   * round. The array lives as long as this handle: when the tensor is freed, by dispose() or at its scope's end, the array
   * is detached (its length becomes 0). Autograd does not notice writes. Node frees its own record of a view when the
   * event loop turns: a long synchronous loop had better use toTypedArray().
   */
  asTypedArray(): TypedArray {
    return typedArrayOver(
      this.dtype,
      guarded('asTypedArray', () => addon().viewBytes(this.handle), this),
    );
  }

  /** The values as nested arrays, one level a dimension, or as a number: Python's tolist(). */
  toArray(): NestedNumbers {
    const { shape } = this;
    const numbers = this.toNumbers();
    let next = 0;
    const nest = (dim: number): NestedNumbers =>
      dim === shape.length ? numbers[next++]! : Array.from({ length: shape[dim]! }, () => nest(dim + 1));
    return nest(0);
  }

  /** The values in C order as numbers, whatever the dtype; int64 beyond 2^53 loses digits. */
  toNumbers(): number[] {
    const { dtype } = this;
    if (dtype === 'float16' || dtype === 'bfloat16') {
      const wide = this.toDtype('float32');
      const numbers = Array.from(wide.toTypedArray() as Float32Array);
      wide.dispose();
      return numbers;
    }
    return Array.from(this.toTypedArray() as ArrayLike<number | bigint>, Number);
  }

  /** The single entry as a number. On a GPU this waits for it: keep it out of inner loops. */
  item(): number {
    return guarded('item', () => addon().item(this.handle), this);
  }

  /** For messages: `float32 [2, 3]`, or that it is gone. */
  describe(): string {
    return this.isLive ? `${this.dtype} [${this.shape.join(', ')}]` : 'disposed tensor';
  }

  // Autograd.

  get requiresGrad(): boolean {
    return guarded('requiresGrad', () => addon().requiresGrad(this.handle));
  }

  /** Marks a leaf as wanting gradients. Returns itself. */
  requiresGrad_(flag = true): this {
    guarded('requiresGrad_', () => addon().setRequiresGrad(this.handle, flag), this);
    return this;
  }

  /**
   * Adds the gradient of this scalar (or of `gradient` · this) to the `grad` of every leaf that wants one, or of `leaves`
   * alone, which must want one. The graph is freed on the way unless `retainGraph`; `createGraph` keeps it, and makes the
   * gradients differentiable themselves.
   */
  backward(gradient?: Tensor, { retainGraph = false, createGraph = false, leaves }: BackwardOptions = {}): void {
    const handles = leaves?.map(({ handle }) => handle);
    announced('backward', [this], () => {
      guarded(
        'backward',
        () => addon().backward(this.handle, gradient?.handle, retainGraph, createGraph, handles),
        this,
      );
      return undefined;
    });
  }

  /** The accumulated gradient as a new handle, or undefined when there is none. */
  get grad(): Tensor | undefined {
    const handle = guarded('grad', () => addon().grad(this.handle));
    return handle === undefined ? undefined : wrap(handle);
  }

  /** Replaces the accumulated gradient, or clears it. libtorch does not check what it is given here. */
  set grad(gradient: Tensor | undefined) {
    if (gradient === undefined) {
      guarded('grad', () => addon().clearGrad(this.handle));
      return;
    }
    const [own, given] = [this.describe(), gradient instanceof Tensor ? gradient.describe() : String(gradient)];
    if (own !== given || this.device !== gradient.device) {
      throw new TensorError('TORCH', `grad: expected a gradient like ${own}, got ${given}`, { operation: 'grad' });
    }
    guarded('grad', () => addon().setGrad(this.handle, gradient.handle), this, gradient);
  }
}

registerTensorClass(Tensor);

/**
 * Makes each of two tensors what the other one was, values, shape and gradient, wherever they are referred to: what
 * torch.utils.swap_tensors does. So a module's parameter can be there for a while and then give way to a placeholder.
 */
export function swapTensors(a: Tensor, b: Tensor): void {
  const [first, second] = [a.handle, b.handle];
  (a as { handle: number }).handle = second;
  (b as { handle: number }).handle = first;
}

/** Runs a core function and turns its error into ours, with the name of what was asked and the tensors it was given. */
export function guarded<T>(name: string, body: () => T, ...tensors: readonly Tensor[]): T {
  try {
    return body();
  } catch (error) {
    if (error instanceof TensorError || error instanceof AddonError) throw error;
    const { message, code } = error as { message: string; code?: string };
    const given = tensors.length === 0 ? '' : ` (${tensors.map((tensor) => tensor.describe()).join(', ')})`;
    throw new TensorError(
      code === 'DISPOSED' ? 'DISPOSED' : 'TORCH',
      `${name}: ${shortMessage(message, name)}${given}`,
      {
        operation: name,
        cause: error,
      },
    );
  }
}
