/**
 * Writes PyTorch checkpoints in the zip layout of torch.save (PyTorch 1.6 and later; torch/serialization.py), in pieces:
 * no more than one tensor's bytes are in memory, so a model larger than half of it can be written.
 *
 *   NAME/data.pkl            the value, tensors by storage key
 *   NAME/.format_version     1
 *   NAME/.storage_alignment  64: storages start at multiples of it, so that they can be mapped
 *   NAME/byteorder           little
 *   NAME/data/KEY            a storage each, not compressed
 *   NAME/version             3
 *   NAME/.data/serialization_id
 *
 * Read by `torch.load(path, weights_only=True)`, which is the default since PyTorch 2.6. Equal content gives equal bytes.
 */
import { concatBytes } from '../byte-reader.ts';
import { crc32 } from '../crc.ts';
import { FormatError } from '../format-error.ts';
import { bytesToWrite } from '../safetensors/write.ts';
import { type ZipEntryToWrite, zipChunks } from '../zip/write.ts';
import { type PickleWithTensors, type TorchWritable, writePickle } from './pickle-write.ts';

export interface TorchWriteOptions {
  /** The one folder inside; torch.save takes the file's name without its extension. Default `archive`. */
  readonly name?: string;
}

const ALIGNMENT = 64;

/** The pieces of the file, in order. */
export function* torchCheckpointChunks(value: TorchWritable, options: TorchWriteOptions = {}): Generator<Uint8Array> {
  const { name = 'archive' } = options;
  if (name === '' || name.includes('/')) {
    throw new FormatError('torch.write-name', `expected a name without slashes, got "${name}"`, {
      file: 'checkpoint writer',
    });
  }
  yield* zipChunks(entries(name, writePickle(value)));
}

/** The whole file in one array. */
export function encodeTorchCheckpoint(value: TorchWritable, options: TorchWriteOptions = {}): Uint8Array {
  return concatBytes(torchCheckpointChunks(value, options));
}

function* entries(root: string, { pickle, tensors }: PickleWithTensors): Generator<ZipEntryToWrite> {
  // Tells checkpoints apart in logs of torch: 20 digits of the names, 20 of the contents.
  let names = 0;
  let contents = 0;
  const entry = (name: string, bytes: Uint8Array): ZipEntryToWrite => {
    names = crc32(new TextEncoder().encode(`${names} ${name}`));
    contents = crc32(new TextEncoder().encode(`${contents} ${crc32(bytes)}`));
    return { name: `${root}/${name}`, bytes, align: ALIGNMENT };
  };
  yield entry('data.pkl', pickle);
  yield entry('.format_version', text('1'));
  yield entry('.storage_alignment', text(String(ALIGNMENT)));
  yield entry('byteorder', text('little'));
  for (const [key, tensor] of tensors) yield entry(`data/${key}`, bytesToWrite(key, tensor));
  yield entry('version', text('3\n'));
  yield entry('.data/serialization_id', text(`${digits(names)}${digits(contents)}`));
}

function text(content: string): Uint8Array {
  return new TextEncoder().encode(content);
}

function digits(number: number): string {
  return String(number).padStart(20, '0');
}
