/** What kind of file this is, by its content; names and extensions are not looked at. */

import { type ByteReader, FormatError, openZip } from '@tessera/formats';

export type FileFormat = 'safetensors' | 'npy' | 'npz' | 'torch-zip' | 'torch-legacy' | 'onnx';

/** Starts of files that people mistake for these, for a helpful error. */
const OTHERS: readonly (readonly [string, readonly number[]])[] = [
  ['a PNG picture', [0x89, 0x50, 0x4e, 0x47]],
  ['a JPEG picture', [0xff, 0xd8, 0xff]],
  ['an HDF5 file', [0x89, 0x48, 0x44, 0x46]],
  ['a gzip archive', [0x1f, 0x8b]],
  ['a Git LFS pointer (fetch the real file with "git lfs pull")', [...'version https://git-lfs'].map(codeOf)],
  ['JSON', [0x7b]],
  ['a web page', [0x3c]],
];

export function recogniseFile(reader: ByteReader): FileFormat {
  const start = reader.read(0, Math.min(64, reader.byteLength));
  if (startsWith(start, [0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59])) return 'npy';
  if (startsWith(start, [0x50, 0x4b])) return recogniseZip(reader);
  // safetensors: eight bytes of length, below 100 MB, then a JSON object.
  if (start[8] === 0x7b && start[5] === 0 && start[6] === 0 && start[7] === 0) return 'safetensors';
  // A pickle of protocol 2 or more; the legacy layout starts with one.
  if (start[0] === 0x80 && start[1]! >= 2 && start[1]! <= 5) return 'torch-legacy';
  // A protocol buffer that begins with its format's version, a small number, and goes on with a text or a message.
  if (start[0] === 0x08 && start[1]! >= 1 && start[1]! <= 32 && (start[2]! & 7) === 2) return 'onnx';
  const other = OTHERS.find(([, bytes]) => startsWith(start, bytes))?.[0];
  const got = start.length === 0 ? 'an empty file' : (other ?? 'something else');
  throw new FormatError('inspect.unknown', `expected a safetensors, npy, npz, ONNX or PyTorch file, got ${got}`, {
    file: reader.name,
    offset: 0,
  });
}

function recogniseZip(reader: ByteReader): FileFormat {
  const names = [...openZip(reader).entries.keys()];
  if (names.some((name) => /^[^/]+\/data\.pkl$/.test(name))) return 'torch-zip';
  if (names.every((name) => name.endsWith('.npy'))) return 'npz';
  const message = `expected a PyTorch checkpoint (NAME/data.pkl) or an npz archive (.npy only), got another zip archive of ${names.length} entries`;
  throw new FormatError('inspect.unknown-archive', message, { file: reader.name });
}

function startsWith(bytes: Uint8Array, start: readonly number[]): boolean {
  return start.every((byte, i) => bytes[i] === byte);
}

function codeOf(letter: string): number {
  return letter.charCodeAt(0);
}
