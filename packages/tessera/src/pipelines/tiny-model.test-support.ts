/** The smallest whole model folders, randomly initialised, for tests: 16 px, 4×4 tokens of 32 codes, three classes. */

import { autoregressiveSettings, cosineStrategy, type SamplingSettings } from '@tessera/schedule';
import { manualSeed, noGrad } from '@tessera/torch';
import { AutoNat, autonatConfigSchema } from '../models/autonat.ts';
import { Enat, enatConfigSchema } from '../models/enat.ts';
import type { GeneratorModel } from '../models/family.ts';
import { Gpt } from '../models/gpt.ts';
import { gptConfigSchema } from '../models/gpt-config.ts';
import { initialise, type ParameterBuilder } from '../nn/module.ts';
import { LlamaGenVq } from '../tokenizers/llamagen-vq.ts';
import { vqPreset } from '../tokenizers/vq-config.ts';
import { openModelFolder, writeModelFolder } from './model-folder.ts';

export const TINY_CLASSES = ['apples', 'pears, ripe', '7'];

/** An ENAT. */
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
  shake(model);
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

/** An AutoNAT with the tokenizer of an ENAT's folder. */
export function writeTinyAutonat(path: string, enat: string): void {
  manualSeed(4);
  const sizes = { gridSize: 4, codebookSize: 32, numClasses: 3, embedDim: 16, depth: 2, numHeads: 2 };
  const config = autonatConfigSchema.parse(sizes);
  writeBeside(path, enat, (p) => new AutoNat(config, p), cosineStrategy({ numSteps: 3, guidanceScale: 2 }));
}

/** A GPT with the tokenizer of an ENAT's folder. */
export function writeTinyGpt(path: string, enat: string): void {
  manualSeed(2);
  const sizes = {
    gridSize: 4,
    codebookSize: 32,
    numClasses: 3,
    embedDim: 16,
    depth: 1,
    numHeads: 2,
    ffnMultipleOf: 16,
  };
  const config = gptConfigSchema.parse(sizes);
  writeBeside(path, enat, (p) => new Gpt(config, p), autoregressiveSettings({ guidanceScale: 2 }));
}

function writeBeside(
  path: string,
  enat: string,
  construct: (p: ParameterBuilder) => GeneratorModel,
  strategy: SamplingSettings,
): void {
  const { tokenizer, dispose } = openModelFolder(enat);
  const model = initialise(construct);
  if (model.generation === 'masked') shake(model);
  writeModelFolder(path, { imageSize: 16, model, tokenizer, strategy, classes: TINY_CLASSES, card: '# tiny\n' });
  model.dispose();
  dispose();
}

/** The official initialisation makes every block the identity and every class the same: away from there. */
function shake(model: GeneratorModel): void {
  noGrad(() => {
    for (const tensor of model.state.values()) tensor.add_(tensor.randnLike().mul(0.1));
  });
}
