/** The smallest whole model folder, randomly initialised, for tests: 16 px, 4×4 tokens of 32 codes, three classes. */

import { cosineStrategy } from '@tessera/schedule';
import { manualSeed, noGrad } from '@tessera/torch';
import { Enat, enatConfigSchema } from '../models/enat.ts';
import { initialise } from '../nn/module.ts';
import { LlamaGenVq } from '../tokenizers/llamagen-vq.ts';
import { vqPreset } from '../tokenizers/vq-config.ts';
import { writeModelFolder } from './model-folder.ts';

export const TINY_CLASSES = ['apples', 'pears, ripe', '7'];

export function writeTinyModel(path: string): void {
  manualSeed(1);
  const config = enatConfigSchema.parse({
    gridSize: 4,
    codebookSize: 32,
    numClasses: TINY_CLASSES.length,
    embedDim: 24,
    encoderDepth: 2,
    decoderDepth: 1,
    numHeads: 2,
  });
  const model = initialise((p) => new Enat(config, p));
  // The official initialisation makes every block the identity and every class the same: move it away from there.
  noGrad(() => {
    for (const tensor of model.state.values()) tensor.add_(tensor.randnLike().mul(0.1));
  });
  const tokenizer = initialise(
    (p) =>
      new LlamaGenVq(
        vqPreset('vq-small', {
          channels: 8,
          latentChannels: 16,
          codebookSize: 32,
          codeDim: 4,
          decoderResBlocks: 1,
          groupNormGroups: 4,
        }),
        p,
      ),
  );
  const strategy = cosineStrategy({ numSteps: 3, guidanceScale: 2 });
  writeModelFolder(path, { imageSize: 16, model, tokenizer, strategy, classes: TINY_CLASSES, card: '# tiny\n' });
  model.dispose();
  tokenizer.dispose();
}
