/**
 * The model families: one row each. A family names itself in `config.json`; its row checks its configuration, constructs
 * its network and trains it. Everything else that knows a family is its own files and one sampler.
 */

import type { ParameterBuilder } from '../nn/module.ts';
import { AutoNat, type AutoNatConfig, autonatConfigSchema } from './autonat.ts';
import { autonatRecipeSchema, autonatTrainingLoss, measureAutonat } from './autonat-recipe.ts';
import { Enat, type EnatConfig, enatConfigSchema } from './enat.ts';
import { enatRecipeSchema, enatTrainingLoss, measureEnat } from './enat-recipe.ts';
import type { Family, GeneratorModel, Shapes } from './family.ts';
import { Gpt, gptBlockOf } from './gpt.ts';
import { type GptConfig, gptConfigSchema } from './gpt-config.ts';
import { gptPatchCosts } from './gpt-cost.ts';
import { inferGptConfig, recognisesGpt } from './gpt-infer.ts';
import { checkStages, gptRecipeSchema, gptTrainingLoss, measureGpt } from './gpt-recipe.ts';
import { inferAutonatConfig, inferEnatConfig, recognisesAutonat, recognisesEnat } from './infer-config.ts';
import { autonatStepMacs, enatSetupMacs, enatStepMacs } from './nat-macs.ts';

export const FAMILIES = {
  autonat: {
    generation: 'masked',
    schema: autonatConfigSchema,
    construct: (config: AutoNatConfig, p: ParameterBuilder) => new AutoNat(config, p),
    recognises: recognisesAutonat,
    inferConfig: inferAutonatConfig,
    recipe: autonatRecipeSchema,
    trainingLoss: autonatTrainingLoss,
    measure: measureAutonat,
    stepMacs: autonatStepMacs,
  },
  enat: {
    generation: 'masked',
    schema: enatConfigSchema,
    construct: (config: EnatConfig, p: ParameterBuilder) => new Enat(config, p),
    recognises: recognisesEnat,
    inferConfig: inferEnatConfig,
    recipe: enatRecipeSchema,
    trainingLoss: enatTrainingLoss,
    measure: measureEnat,
    stepMacs: enatStepMacs,
    setupMacs: enatSetupMacs,
  },
  gpt: {
    generation: 'autoregressive',
    schema: gptConfigSchema,
    construct: (config: GptConfig, p: ParameterBuilder) => new Gpt(config, p),
    recognises: recognisesGpt,
    inferConfig: inferGptConfig,
    recipe: gptRecipeSchema,
    checkRecipe: checkStages,
    trainingLoss: gptTrainingLoss,
    measure: measureGpt,
    dropsInBlocks: true,
    blockOf: gptBlockOf,
    patchCosts: gptPatchCosts,
  },
} as const satisfies Record<string, Family>;

export type FamilyName = keyof typeof FAMILIES;
export const familyNames = Object.keys(FAMILIES) as [FamilyName, ...FamilyName[]];

/** The row of a family by name, or of a model's family. */
export function familyOf(which: FamilyName | GeneratorModel): Family {
  return FAMILIES[typeof which === 'string' ? which : (which.family as FamilyName)];
}

/** The family that tensors of these names and shapes belong to; undefined for none. */
export function recogniseFamily(shapes: Shapes): FamilyName | undefined {
  return familyNames.find((name) => FAMILIES[name].recognises(shapes));
}
