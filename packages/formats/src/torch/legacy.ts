/**
 * The checkpoint layout of PyTorch 0.1.10 to 1.5 (and of `_use_new_zipfile_serialization=False`).
 *
 * Five pickles in a row: magic number, protocol 1001, facts about the machine, the object, the list of
 * storage keys; then for each key 8 bytes with the number of elements and the raw elements.
 * Reference: torch/serialization.py, `_legacy_save`.
 */
import { type ByteReader, dataViewOf } from '../byte-reader.ts';
import { byteSizeOf } from '../dtype.ts';
import { FormatError } from '../format-error.ts';
import { checkValue } from './check-value.ts';
import { runPickle } from './pickle-machine.ts';
import { PickleSource } from './pickle-source.ts';
import { StorageTable } from './storages.ts';
import { describe, type PickleValue, type TorchValue } from './values.ts';

const MAGIC = 0x1950a86a20f9469cfc6cn;
const PROTOCOL = 1001;

export function readLegacy(reader: ByteReader): TorchValue {
  const source = new PickleSource(reader);
  const fail = (rule: string, message: string, offset?: number): never => {
    throw new FormatError(`torch.${rule}`, message, { file: reader.name, offset: offset ?? source.position });
  };
  const storages = new StorageTable();
  const next = (): PickleValue => runPickle(source, (id, context) => storages.load(id, context));
  if (next() !== MAGIC) fail('not-a-checkpoint', 'a pickle, but not one of torch.save', 0);
  const protocol = next();
  if (protocol !== PROTOCOL) fail('protocol', `expected protocol ${PROTOCOL}, got ${describe(protocol)}`);
  const machine = next();
  const littleEndian = machine instanceof Map ? machine.get('little_endian') : undefined;
  if (typeof littleEndian !== 'boolean') fail('system-info', 'expected a dict with little_endian');
  const objectAt = source.position;
  const value = checkValue(next(), (rule, message) => source.fail(rule, message, objectAt));
  const keysAt = source.position;
  const keys = checkValue(next(), (rule, message) => source.fail(rule, message, keysAt));
  if (!Array.isArray(keys)) return fail('storage-keys', 'expected the list of storage keys', keysAt);
  bindStorages(reader, storages, keys, source.position, littleEndian === false, fail);
  return value;
}

function bindStorages(
  reader: ByteReader,
  storages: StorageTable,
  keys: readonly TorchValue[],
  start: number,
  bigEndian: boolean,
  fail: (rule: string, message: string, offset?: number) => never,
): void {
  let at = start;
  for (const key of keys) {
    const storage = typeof key === 'string' ? storages.roots.get(key) : undefined;
    if (!storage || storage.source) {
      fail('storage-keys', `storage ${describe(key)} is listed twice or not used`, at);
    }
    if (reader.byteLength - at < 8) fail('truncated', 'the file ends among its storages: cut off', at);
    const itemSize = byteSizeOf(storage.dtype);
    const count = dataViewOf(reader.read(at, 8)).getBigInt64(0, !bigEndian);
    if (count * BigInt(itemSize) !== BigInt(storage.byteLength)) {
      fail(
        'storage-size',
        `storage "${storage.key}" has ${count} elements, expected ${storage.byteLength / itemSize}`,
        at,
      );
    }
    at += 8;
    if (storage.byteLength > reader.byteLength - at) fail('truncated', `storage "${storage.key}" is cut off`, at);
    storage.source = { reader, start: at, fileOffset: at, bigEndian };
    at += storage.byteLength;
  }
  for (const storage of storages.roots.values()) {
    if (!storage.source) fail('storage-missing', `storage "${storage.key}" is named, but not in the file`, at);
  }
  if (at < reader.byteLength) fail('trailing-bytes', `${reader.byteLength - at} bytes follow the last storage`, at);
}
