/**
 * How a checkpoint is sampled that brings no strategy of its own, such as a published file: the same for every command
 * that draws from it.
 *
 *   enat-l, enat-l-512         ENAT's formula with the published settings of that size (reference §5.2)
 *   autonat-l, autonat-l-512   AutoNAT's searched list of 8 steps (§5.1); it has no other number of steps
 *   gpt-*                      token by token with guidance 2, LlamaGen's of the published GPT-B
 *   our small sizes            ENAT's formula with settings chosen for them
 */

import {
  autonatSearched8,
  ENAT_PRESETS,
  enatStrategy,
  isAutoregressive,
  type SamplingSettings,
} from '@tessera/schedule';
import type { GeneratorModel } from '../models/family.ts';
import { type ModelPreset, modelPreset, presetOfSizes } from '../models/presets.ts';
import type { FamilyName } from '../models/registry.ts';
import type { OwnSampling } from './choose-strategy.ts';
import { SMALL_MODEL, smallModelSampling } from './small-model-sampling.ts';

/** @returns undefined of a masked model whose size nobody has named */
export function ownStrategy(
  preset: ModelPreset | undefined,
  { family, generation }: Pick<GeneratorModel, 'family' | 'generation'>,
): OwnSampling | undefined {
  if (generation === 'autoregressive') return smallModelSampling(generation);
  return preset === undefined || modelPreset(preset).family !== family ? undefined : ofPreset(preset);
}

/** The same as settings, for what is written beside a model. */
export function presetStrategy(name: ModelPreset): SamplingSettings {
  const own = ofPreset(name);
  return 'enat' in own ? enatStrategy(own.enat) : own;
}

/** Of a network that nobody has named: as the preset of its sizes, else as the nearest published one of its family. */
export function strategyOfSizes(family: FamilyName, config: { gridSize: number }): SamplingSettings {
  const published = family === 'gpt' ? 'gpt-b' : (`${family}-l${config.gridSize > 16 ? '-512' : ''}` as const);
  return presetStrategy(presetOfSizes(family, config) ?? published);
}

/** The same without guidance, for networks that have learned no null class. */
export function unguided(own: SamplingSettings): SamplingSettings;
export function unguided(own: OwnSampling | undefined): OwnSampling | undefined;
export function unguided(own: OwnSampling | undefined): OwnSampling | undefined {
  if (own === undefined) return undefined;
  if ('enat' in own) return { enat: { ...own.enat, guidanceScale: 1 } };
  if (isAutoregressive(own)) return { ...own, guidanceScale: 1 };
  return { ...own, steps: own.steps.map((step) => ({ ...step, guidanceScale: 1 })) };
}

function ofPreset(name: ModelPreset): OwnSampling {
  if (name.startsWith('gpt-')) return smallModelSampling('autoregressive');
  if (name.startsWith('autonat-l')) return autonatSearched8();
  if (name === 'enat-l' || name === 'enat-l-512') return { enat: ENAT_PRESETS[name === 'enat-l' ? 256 : 512] };
  return { enat: SMALL_MODEL };
}
