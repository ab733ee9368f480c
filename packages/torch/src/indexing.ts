// NumPy's and PyTorch's indexing, `x[0, 1:3, ..., None, mask]`, as `x.at(0, '1:3', '...', null, mask)`. Integers, slices,
// null and '...' come first, as select, slice and unsqueeze: views. What remains, lists and tensors of indices and masks,
// goes to one `index` (or `index_put_`), which copies and broadcasts as PyTorch does: an integer beside index tensors is
// a select, where NumPy would take it for one more index tensor.

import { tensor } from './create.ts';
import { TensorError } from './errors.ts';
import { full } from './generated/operations.ts';
import { scope } from './scope.ts';
import { Tensor } from './tensor.ts';

/** `1:5`, `::2`, `-3:`, `:`, as in Python; steps are positive. */
export type SliceText =
  | ':'
  | `${number}:`
  | `:${number}`
  | `${number}:${number}`
  | `::${number}`
  | `${number}::${number}`
  | `:${number}:${number}`
  | `${number}:${number}:${number}`;

/** The same as an object; an end that is left out is the dimension's. */
export interface Slice {
  readonly start?: number | undefined;
  readonly stop?: number | undefined;
  readonly step?: number | undefined;
}

/**
 * What stands for a dimension: an integer (the dimension goes; negative ones count from the end), a slice, `null` (a new
 * dimension of size 1), `'...'` (all dimensions that no other index names), a list of integers or booleans, or a tensor:
 * of integers, or a mask, which stands for as many dimensions as it has.
 */
export type Index = number | SliceText | Slice | null | '...' | readonly number[] | readonly boolean[] | Tensor;

/** The entries that the indices name: a view where all are integers, slices, null or '...', otherwise a copy. */
export function at(self: Tensor, indices: readonly Index[]): Tensor {
  return scope(() => {
    const { view, advanced } = walk('at', self, indices);
    if (advanced.some((index) => index !== undefined)) return view.index(advanced);
    return view === self ? self.viewAs(self) : view;
  });
}

/** Writes a number, or a tensor that broadcasts to them, to the entries that the indices name. */
export function setAt(self: Tensor, indices: readonly Index[], value: Tensor | number): void {
  scope(() => {
    const { view, advanced } = walk('setAt_', self, indices);
    if (advanced.some((index) => index !== undefined)) {
      view.indexPut_(advanced, value instanceof Tensor ? value : full([], value, self));
    } else if (value instanceof Tensor) {
      view.copy_(withoutLeadingOnes(value, view.shape.length));
    } else {
      view.fill_(value);
    }
  });
}

/** Applies all but lists and tensors, and collects those for `index`: an entry for each dimension of the view. */
function walk(operation: string, self: Tensor, indices: readonly Index[]) {
  const { shape, device } = self;
  const refuse = (problem: string): never => {
    const where = `${self.describe()} at [${indices.map(describeIndex).join(', ')}]`;
    throw new TensorError('TORCH', `${operation}: ${problem} (${where})`, { operation });
  };
  const named = indices.reduce((sum: number, index) => sum + dimensionsOf(index), 0);
  if (named > shape.length) refuse(`expected at most ${shape.length} indices, got ${named}`);
  if (indices.filter((index) => index === '...').length > 1) refuse("expected '...' once, got it twice");

  let view = self;
  let source = 0; // dimension of `self`
  let target = 0; // dimension of `view`
  const advanced: (Tensor | undefined)[] = [];
  const pass = (count: number): void => {
    for (let k = 0; k < count; k++) advanced.push(undefined);
    target += count;
  };
  for (const index of indices) {
    if (index === null) {
      view = view.unsqueeze(target);
      pass(1);
    } else if (index === '...') {
      source += shape.length - named;
      pass(shape.length - named);
    } else if (typeof index === 'number') {
      const size = shape[source]!;
      if (!Number.isInteger(index)) refuse(`expected an integer for dimension ${source}, got ${index}`);
      if (index < -size || index >= size) refuse(`index ${index} is outside dimension ${source} of size ${size}`);
      view = view.select(target, index);
      source++;
    } else if (index instanceof Tensor || Array.isArray(index)) {
      const list = index instanceof Tensor ? index : listTensor(index, device, refuse);
      const { dtype } = list;
      if (dtype !== 'int64' && dtype !== 'int32' && dtype !== 'bool') {
        refuse(`expected indices of dtype int64, int32 or bool, got ${dtype}`);
      }
      if (dtype === 'bool') checkMask(list, shape.slice(source), source, refuse);
      advanced.push(list);
      source += dimensionsOf(list);
      target += dimensionsOf(list);
    } else {
      const { start, stop, step = 1 } = parseSlice(index as SliceText | Slice, refuse);
      for (const part of [start, stop, step]) {
        if (part !== undefined && !Number.isInteger(part)) refuse(`expected a slice of integers, got ${part}`);
      }
      if (step < 1) refuse(`expected a positive step, got ${step}: use flip() to reverse`);
      if (start !== undefined || stop !== undefined || step !== 1) view = view.slice(target, start, stop, step);
      source++;
      pass(1);
    }
  }
  return { view, advanced };
}

function dimensionsOf(index: Index): number {
  if (index === null || index === '...') return 0;
  return index instanceof Tensor && index.dtype === 'bool' ? index.shape.length : 1;
}

function listTensor(list: readonly (number | boolean)[], device: string, refuse: (problem: string) => never): Tensor {
  const mask = list.length > 0 && typeof list[0] === 'boolean';
  if (!list.every((item) => (mask ? typeof item === 'boolean' : Number.isSafeInteger(item)))) {
    refuse('expected a list of integers or of booleans');
  }
  const indices = tensor(list.map(Number), mask ? 'bool' : 'int64');
  return device === 'cpu' ? indices : indices.to(device as `cuda:${number}`);
}

function checkMask(mask: Tensor, sizes: readonly number[], dimension: number, refuse: (problem: string) => never) {
  const { shape } = mask;
  if (shape.length === 0) refuse('expected a mask of at least one dimension, got one of none');
  if (shape.some((size, k) => size !== sizes[k])) {
    refuse(
      `expected a mask of [${sizes.slice(0, shape.length).join(', ')}] from dimension ${dimension} on, got [${shape.join(', ')}]`,
    );
  }
}

function parseSlice(index: SliceText | Slice, refuse: (problem: string) => never): Slice {
  if (typeof index === 'object') return index;
  const match = typeof index === 'string' ? /^(-?\d+)?:(-?\d+)?(?::(-?\d+)?)?$/.exec(index) : null;
  if (match === null) return refuse(`expected an index, got ${describeIndex(index)}`);
  const [start, stop, step] = match.slice(1).map((text) => (text === undefined ? undefined : Number(text)));
  return { start, stop, step };
}

/** As PyTorch's assignment: dimensions of size 1 in front that the target does not have are dropped. */
function withoutLeadingOnes(value: Tensor, dimensions: number): Tensor {
  const { shape } = value;
  let extra = 0;
  while (shape.length - extra > dimensions && shape[extra] === 1) extra++;
  return extra === 0 ? value : value.reshape(shape.slice(extra));
}

function describeIndex(index: unknown): string {
  if (index instanceof Tensor) return index.describe();
  if (Array.isArray(index)) return `[${index.slice(0, 6).join(', ')}${index.length > 6 ? ', …' : ''}]`;
  if (typeof index === 'string') return `'${index}'`;
  if (typeof index !== 'object' || index === null) return String(index);
  const { start = '', stop = '', step } = index as Slice;
  return `${start}:${stop}${step === undefined ? '' : `:${step}`}`;
}
