/**
 * Persistent ids: how a checkpoint's pickle refers to storages.
 *
 * An id is ('storage', class, key, location, number of elements) and, in legacy files, a view
 * (key, offset, size) or None. Ids of one key must agree, and share one storage.
 */
import { byteSizeOf } from '../dtype.ts';
import { TorchStorage } from './tensor.ts';
import { type CallContext, describe, kindOf, type PickleGlobal, type PickleValue } from './values.ts';

/** Storages by key, as the pickle names them. */
export class StorageTable {
  readonly roots = new Map<string, TorchStorage>();
  private readonly views = new Map<string, TorchStorage>();

  /** A persistent id as the storage that it names. */
  load(id: readonly PickleValue[], context: CallContext): TorchStorage {
    const [tag, type, key, location, count, view] = id;
    const dtype = kindOf(type) === 'global' ? (type as PickleGlobal).storageDType : undefined;
    if (tag !== 'storage' || dtype === undefined || typeof key !== 'string' || typeof location !== 'string') {
      return context.fail(
        'persistent-id',
        `expected the id of a storage, got (${id.slice(0, 6).map(describe).join(', ')})`,
      );
    }
    const byteLength = sizeOf(count, byteSizeOf(dtype), context);
    let root = this.roots.get(key);
    if (root && (root.dtype !== dtype || root.byteLength !== byteLength)) {
      const had = `${root.dtype}, ${root.byteLength} bytes`;
      return context.fail('storage-conflict', `storage "${key}" is ${had} and ${dtype}, ${byteLength} bytes`);
    }
    if (!root) {
      context.charge(20);
      root = new TorchStorage({ key, dtype, byteLength, location });
      this.roots.set(key, root);
    }
    return view === undefined || view === null ? root : this.view(root, view, context);
  }

  private view(root: TorchStorage, view: PickleValue, context: CallContext): TorchStorage {
    const [key, offset, count] = Array.isArray(view) ? view : [];
    if (typeof key !== 'string')
      return context.fail('persistent-id', `expected a view on a storage, got ${describe(view)}`);
    const itemSize = byteSizeOf(root.dtype);
    const byteOffset = sizeOf(offset, itemSize, context);
    const byteLength = sizeOf(count, itemSize, context);
    if (byteOffset + byteLength > root.byteLength) {
      return context.fail('storage-view', `view "${key}" reaches beyond its storage "${root.key}"`);
    }
    const id = `${root.key}/${byteOffset}/${byteLength}/${key}`;
    const known = this.views.get(id);
    if (known) return known;
    context.charge(20);
    const { dtype, location } = root;
    const storage = new TorchStorage({ key, dtype, byteLength, location }, { root, byteOffset });
    this.views.set(id, storage);
    return storage;
  }
}

function sizeOf(count: PickleValue | undefined, itemSize: number, context: CallContext): number {
  const bytes = typeof count === 'number' && count >= 0 ? count * itemSize : Number.NaN;
  if (Number.isSafeInteger(bytes)) return bytes;
  return context.fail('persistent-id', `expected a number of elements, got ${describe(count)}`);
}
