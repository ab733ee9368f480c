/** Named tensors of a weights file of any kind: safetensors, or a PyTorch checkpoint (parsed, never executed). */

import { flattenStateDict, readTorchCheckpoint } from '@tessera/formats';
import { withFile } from '@tessera/formats/node';
import { fromTorchTensor, loadSafetensors, type Tensor } from '@tessera/torch';
import { PipelineError } from './events.ts';
import { recogniseFile } from './inspect/recognise.ts';

/** The tensors belong to the caller's scope. */
export function loadWeights(path: string): Map<string, Tensor> {
  return withFile(path, (reader) => {
    const format = recogniseFile(reader);
    if (format === 'safetensors') return loadSafetensors(path).tensors;
    if (format !== 'torch-zip' && format !== 'torch-legacy') {
      throw new PipelineError('WEIGHTS', `${path}: expected weights (safetensors or a PyTorch file), got ${format}.`);
    }
    const tensors = flattenStateDict(readTorchCheckpoint(reader));
    return new Map([...tensors].map(([name, tensor]) => [name, fromTorchTensor(tensor)]));
  });
}
