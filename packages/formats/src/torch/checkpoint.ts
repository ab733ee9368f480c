/**
 * PyTorch checkpoints: `torch.save` files of both layouts, read without running anything.
 *
 * Since PyTorch 1.6 a file is a zip archive: `NAME/data.pkl` (the object, with storages by persistent id),
 * `NAME/data/KEY` (one storage each, uncompressed and aligned), `NAME/byteorder`. Before that it was a
 * sequence of pickles followed by the storages (`legacy.ts`). Reference: torch/serialization.py.
 * The pickle's CRC is checked; storages are read by range, so theirs only with `verify`.
 */
import { type ByteReader, bytesReader } from '../byte-reader.ts';
import { byteSizeOf } from '../dtype.ts';
import { FormatError } from '../format-error.ts';
import { openZip, type ZipArchive, type ZipOptions } from '../zip/archive.ts';
import { checkValue } from './check-value.ts';
import { readLegacy } from './legacy.ts';
import { runPickle } from './pickle-machine.ts';
import { PickleSource } from './pickle-source.ts';
import { StorageTable } from './storages.ts';
import type { TorchValue } from './values.ts';

export interface TorchReadOptions extends ZipOptions {
  /** Read every storage once and check its CRC (zip layout; legacy files have none). */
  readonly verify?: boolean;
}

/** The object that was saved. Tensors stay in the file: keep the reader open while their bytes are wanted. */
export function readTorchCheckpoint(reader: ByteReader, options: TorchReadOptions = {}): TorchValue {
  const start = reader.read(0, Math.min(4, reader.byteLength));
  if (start[0] === 0x50 && start[1] === 0x4b) return readZipLayout(reader, options);
  if (start[0] === 0x80 || start[0] === 0x4c || start[0] === 0x28) return readLegacy(reader);
  const message =
    'expected a PyTorch checkpoint (a zip archive or a pickle); files of PyTorch before 0.1.10 are not read';
  throw new FormatError('torch.not-a-checkpoint', message, { file: reader.name, offset: 0 });
}

function readZipLayout(reader: ByteReader, options: TorchReadOptions): TorchValue {
  const zip = openZip(reader, options);
  const root = findRoot(reader, zip);
  const bigEndian = readByteOrder(reader, zip, root);
  const pickle = bytesReader(zip.read(zip.entries.get(`${root}/data.pkl`)!), `${reader.name}:${root}/data.pkl`);
  const storages = new StorageTable();
  const source = new PickleSource(pickle);
  const value = runPickle(source, (id, context) => storages.load(id, context));
  if (source.remaining > 0) source.fail('trailing-bytes', `${source.remaining} bytes follow the end of the pickle`);
  const checked = checkValue(value, (rule, message) => source.fail(rule, message, 0));
  bindStorages(reader, zip, root, storages, bigEndian);
  if (options.verify) for (const entry of zip.entries.values()) zip.verify(entry);
  return checked;
}

/** The one folder that holds everything. */
function findRoot(reader: ByteReader, zip: ZipArchive): string {
  const roots = [...zip.entries.keys()]
    .filter((name) => /^[^/]+\/data\.pkl$/.test(name))
    .map((name) => name.slice(0, -9));
  const [root] = roots;
  if (root === undefined || roots.length > 1) {
    const message = `expected one NAME/data.pkl in the archive, found ${roots.length}: not saved by torch.save`;
    throw new FormatError('torch.no-pickle', message, { file: reader.name });
  }
  if (zip.entries.has(`${root}/constants.pkl`)) {
    const message = 'this is a TorchScript program, not a checkpoint; save its state_dict() with torch.save';
    throw new FormatError('torch.torchscript', message, { file: reader.name });
  }
  return root;
}

function readByteOrder(reader: ByteReader, zip: ZipArchive, root: string): boolean {
  const entry = zip.entries.get(`${root}/byteorder`);
  if (!entry) return false;
  const order = new TextDecoder().decode(zip.readPrefix(entry, 16)).trim();
  if (order === 'little' || order === 'big') return order === 'big';
  const message = `expected the byte order little or big, got "${order}"`;
  throw new FormatError('torch.byteorder', message, { file: reader.name, offset: entry.headerOffset });
}

/** Beyond the file's own size, of all compressed storages together: they are held in memory. */
const UNPACKED_ALLOWANCE = 256 * 2 ** 20;

function bindStorages(
  reader: ByteReader,
  zip: ZipArchive,
  root: string,
  storages: StorageTable,
  bigEndian: boolean,
): void {
  let unpacked = 0;
  for (const storage of storages.roots.values()) {
    const entry = zip.entries.get(`${root}/data/${storage.key}`);
    if (!entry) {
      const message = `storage "${storage.key}" is named, but not in the archive`;
      throw new FormatError('torch.storage-missing', message, { file: reader.name });
    }
    // A storage may end in part of an element if it was viewed as another type.
    const itemSize = byteSizeOf(storage.dtype);
    if (entry.size - (entry.size % itemSize) !== storage.byteLength) {
      const message = `storage "${storage.key}" has ${entry.size} bytes in the archive, its tensors expect ${storage.byteLength}`;
      throw new FormatError('torch.storage-size', message, { file: reader.name, offset: entry.headerOffset });
    }
    const fileOffset = entry.method === 'stored' ? zip.dataOffset(entry) : null;
    if (fileOffset === null) unpacked += entry.size;
    if (unpacked > reader.byteLength + UNPACKED_ALLOWANCE) {
      const message = `its compressed storages unpack to more than ${unpacked} bytes: save it again with torch.save, which compresses nothing`;
      throw new FormatError('torch.bomb', message, { file: reader.name, offset: entry.headerOffset });
    }
    storage.source = { reader: zip.open(entry), start: 0, fileOffset, bigEndian };
  }
}
