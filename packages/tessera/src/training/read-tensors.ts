/** Tensors of a checkpoint's files. */

import { readSafetensorsHeader, readTensorBytes } from '@tessera/formats';
import { withFile } from '@tessera/formats/node';
import { fromBytes, isDType, type Tensor } from '@tessera/torch';
import { TrainingError } from './training-error.ts';

/** The tensors of a safetensors file, copied: a mapping must not outlive a file that is removed when it gets old. */
export function readTensors(path: string): Map<string, Tensor> {
  return withFile(path, (reader) => {
    const tensors = new Map<string, Tensor>();
    for (const [name, entry] of readSafetensorsHeader(reader).tensors) {
      if (!isDType(entry.dtype)) {
        throw new TrainingError(
          'RUN_FOLDER',
          `${path}: "${name}" is ${entry.dtype}, which no checkpoint of ours holds.`,
        );
      }
      tensors.set(name, fromBytes(Uint8Array.from(readTensorBytes(reader, entry)), entry.shape, entry.dtype));
    }
    return tensors;
  });
}
