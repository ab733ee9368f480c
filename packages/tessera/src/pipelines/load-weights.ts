/** Named tensors of a weights file of any kind: safetensors, or a PyTorch checkpoint, bare or wrapped (never executed). */

import { withFile } from '@tessera/formats/node';
import { fromBytes, isDType, type Tensor } from '@tessera/torch';
import { loadModule, shapesOf } from '../nn/state-dict.ts';
import { tokenizerFamily } from '../tokenizers/registry.ts';
import type { Tokenizer } from '../tokenizers/tokenizer.ts';
import { PipelineError } from './events.ts';
import { describeCheckpoint, recogniseArchitecture } from './official/architectures.ts';
import { readWeights } from './official/read-weights.ts';

/**
 * The tensors belong to the caller's scope.
 *
 * @param entry which of several state dicts in the file, such as `ema`; default: the one that `import` takes
 */
export function loadWeights(path: string, entry?: string): Map<string, Tensor> {
  return withFile(path, (reader) => {
    const { tensors } = readWeights(reader, entry);
    return new Map(
      [...tensors].map(([name, { dtype, shape, bytes }]) => {
        // Copied: the file's bytes may lie where no element of this type may.
        if (isDType(dtype)) return [name, fromBytes(bytes().slice(), shape, dtype)];
        throw new PipelineError('WEIGHTS', `${path}: "${name}" is ${dtype}, a type that no network here has.`);
      }),
    );
  });
}

/** A tokenizer from an official checkpoint; the architecture is told by the file. Call it inside a scope. */
export function loadOfficialTokenizer(path: string): Tokenizer {
  const tensors = loadWeights(path);
  const shapes = shapesOf(tensors);
  const architecture = recogniseArchitecture(shapes);
  if (architecture?.part !== 'tokenizer') {
    throw new PipelineError(
      'ARCHITECTURE',
      `${path}: expected a tokenizer, but it looks like ${describeCheckpoint(shapes)}.`,
    );
  }
  const config = architecture.infer(shapes, {}, path);
  return loadModule((p) => tokenizerFamily(architecture.family).construct(config, p), tensors, path);
}
