/** A model size by name, before there are any weights: parameters, memory, what a step and an image cost. */

import { isAutoregressive } from '@tessera/schedule';
import { parameterShapes } from '../../models/parameter-shapes.ts';
import { type ModelPreset, modelPreset } from '../../models/presets.ts';
import { familyOf } from '../../models/registry.ts';
import { chooseSampling, type StrategyChoice } from '../choose-strategy.ts';
import { ownStrategy } from '../own-strategy.ts';
import { generationCost, maskgitDecoderMacs } from './generation-macs.ts';
import type { PresetInspection } from './inspection.ts';

const FLOAT = 4;
/** Weights, gradients, two moments and one average. */
const TRAINING_COPIES = 5;

export function inspectPreset(
  name: ModelPreset,
  { gridSize, ...choice }: StrategyChoice & { gridSize?: number | undefined },
): PresetInspection {
  const { family: familyName, config } = modelPreset(name, gridSize === undefined ? {} : { gridSize });
  const family = familyOf(familyName);
  const { numParameters } = parameterShapes((p) => family.construct(config, p));
  const settings = chooseSampling(
    choice,
    ownStrategy(name, { family: familyName, generation: family.generation }),
    family.generation,
  );
  const cost = isAutoregressive(settings) ? undefined : generationCost(family, config, settings);
  return {
    kind: 'preset',
    name,
    family: familyName,
    config: { ...config },
    numParameters,
    byteLength: { weights: numParameters * FLOAT, training: numParameters * FLOAT * TRAINING_COPIES },
    ...(cost === undefined ? {} : { cost }),
    ...(family.patchCosts === undefined ? {} : { patches: family.patchCosts(config) }),
    // The sizes for ImageNet stand on MaskGIT's tokenizer; the others' depend on what they are trained with.
    ...(cost !== undefined && config.numClasses === 1000 ? { decoderMacs: maskgitDecoderMacs(config.gridSize) } : {}),
  };
}
