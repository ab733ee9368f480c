/** A generator from a checkpoint of any kind: bare or wrapped, a file or the folder of a sharded run. */

import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { scope } from '@tessera/torch';
import type { GeneratorModel, GivenFields, Shapes } from '../models/family.ts';
import { Gpt } from '../models/gpt.ts';
import { type ModelPreset, modelPreset } from '../models/presets.ts';
import { familyNames, familyOf, recogniseFamily } from '../models/registry.ts';
import { loadModule, type NetworkDType, shapesOf, stateShapes } from '../nn/state-dict.ts';
import { hasStored, wholeFile } from '../training/stored-tensors.ts';
import { PipelineError } from './events.ts';
import { loadWeights } from './load-weights.ts';
import { modelOf } from './model-folder.ts';

export interface GeneratorChoice extends GivenFields {
  /** Weights file, or a folder: a checkpoint of a run, or one with consolidated.pth. */
  weights: string;
  /** Gives what shapes do not tell, where the fields above do not. */
  preset?: ModelPreset | undefined;
  /** Refuse weights of another size than the preset's. */
  exactly?: boolean | undefined;
  dtype?: WeightsType | undefined;
}

/**
 * bfloat16: weights and what passes between layers in 16 bits, logits and what is drawn from them in float32; for GPUs.
 * int8: of a GPT a byte a weight and a scale a row, the float weights freed, since its steps wait for memory; of NATs
 * int8 products in the blocks on a CPU, the float weights kept (docs/benchmarks.md).
 */
export const weightsTypes = ['float32', 'bfloat16', 'int8'] as const;
export type WeightsType = (typeof weightsTypes)[number];

/** The type in which weights are loaded. */
export function loadedType(dtype: WeightsType | undefined): NetworkDType {
  return dtype === 'bfloat16' ? dtype : 'float32';
}

/** Makes a model that is only to generate smaller, or faster. */
export function setWeightsType(model: GeneratorModel, dtype: WeightsType | undefined): void {
  if (dtype !== 'int8') return;
  if (model instanceof Gpt) {
    model.quantize({ release: true });
  } else if (model.device !== 'cpu') {
    const problem = `int8 of ${model.family} makes products on a CPU faster; on ${model.device}, --dtype bfloat16 does that.`;
    throw new PipelineError('OPTIONS', problem);
  } else if (model.generation === 'masked' && !model.useInt8()) {
    const problem = 'int8 needs a libtorch with fbgemm, as builds for x86 have; this one has none: leave --dtype out.';
    throw new PipelineError('OPTIONS', problem);
  }
}

/** Owned by the caller. */
export function openGenerator(choice: GeneratorChoice): GeneratorModel {
  const { preset } = choice;
  const file = weightsFile(choice.weights);
  return scope(() => {
    const tensors = loadWeights(file);
    const shapes = shapesOf(tensors);
    const name = recogniseFamily(shapes) ?? (preset === undefined ? undefined : modelPreset(preset).family);
    if (name === undefined) {
      throw new PipelineError(
        'WEIGHTS',
        `${file}: expected the weights of ${familyNames.join(', ')}, got other tensors.`,
      );
    }
    if (preset !== undefined) {
      requireFamily(preset, name, file);
      if (choice.exactly === true) requirePreset(shapes, preset, file);
    }
    const family = familyOf(name);
    const config = family.inferConfig(shapes, givenFields(choice, preset), file);
    const model = loadModule((p) => family.construct(config, p), tensors, file, loadedType(choice.dtype));
    try {
      setWeightsType(model, choice.dtype);
    } catch (error) {
      model.dispose();
      throw error;
    }
    return model;
  });
}

/** Fields by hand above those of a preset. */
export function givenFields(fields: GivenFields, preset: ModelPreset | undefined): GivenFields {
  const known: GivenFields = preset === undefined ? {} : (modelPreset(preset).config as GivenFields);
  const { encoderDepth, decoderDepth, numHeads = known.numHeads, gridSize = known.gridSize } = fields;
  // One number tells the split; the other would then contradict it.
  const split = encoderDepth !== undefined || decoderDepth !== undefined ? { encoderDepth, decoderDepth } : known;
  return { encoderDepth: split.encoderDepth, decoderDepth: split.decoderDepth, numHeads, gridSize };
}

export function requireFamily(preset: ModelPreset, family: string, where: string): void {
  if (modelPreset(preset).family === family) return;
  throw new PipelineError('WEIGHTS', `${where}: expected ${preset}, got weights of ${family}.`);
}

/** Refuses weights of another depth or width; numbers of codes, classes and positions may be others. */
function requirePreset(shapes: Shapes, preset: ModelPreset, where: string): void {
  const { family, config } = modelPreset(preset);
  const expected = stateShapes((p) => familyOf(family).construct(config, p));
  for (const [tensor, shape] of expected) {
    const got = shapes.get(tensor);
    if (got?.length === shape.length && (shape.length !== 2 || got.at(-1) === shape.at(-1))) continue;
    const found = got === undefined ? 'there is none' : `it is [${got.join(', ')}]`;
    throw new PipelineError('WEIGHTS', `${where}: expected ${preset}, with ${tensor} [${shape.join(', ')}]; ${found}.`);
  }
  if (shapes.size === expected.size) return;
  throw new PipelineError(
    'WEIGHTS',
    `${where}: expected the ${expected.size} tensors of ${preset}, got ${shapes.size}.`,
  );
}

/** The file that a path of weights means; of a checkpoint in parts it is put together first. */
export function weightsFile(path: string): string {
  if (!existsSync(path)) throw new PipelineError('NOT_FOUND', `${path}: no such file or folder.`);
  if (!statSync(path).isDirectory()) return path;
  if (hasStored(path, 'ema')) return wholeFile(path, 'ema');
  const inside = [join(path, 'consolidated.pth'), join(path, 'model.safetensors')].find((file) => existsSync(file));
  if (inside !== undefined) return inside;
  throw new PipelineError('WEIGHTS', `${path} is a folder without weights in it${modelOf(path)}.`);
}
