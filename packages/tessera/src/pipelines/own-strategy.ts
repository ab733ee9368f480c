/**
 * How a checkpoint is sampled that brings no strategy of its own, such as a published file: the same for every command
 * that draws from it.
 *
 *   enat-l, enat-l-512         ENAT's formula with the published settings of that size (reference §5.2)
 *   autonat-l, autonat-l-512   AutoNAT's searched list of 8 steps (§5.1); it has no other number of steps
 *   gpt-*                      token by token with guidance 2, LlamaGen's of the published GPT-B
 *   our small sizes            ENAT's formula with settings chosen for them
 */

import { autonatSearched8, ENAT_PRESETS, enatStrategy, type SamplingSettings } from '@tessera/schedule';
import type { GeneratorModel } from '../models/family.ts';
import { type ModelPreset, modelPreset } from '../models/presets.ts';
import type { OwnSampling } from './choose-strategy.ts';
import { SMALL_MODEL, smallModelSampling } from './class-grid.ts';

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

function ofPreset(name: ModelPreset): OwnSampling {
  if (name.startsWith('gpt-')) return smallModelSampling('autoregressive');
  if (name.startsWith('autonat-l')) return autonatSearched8();
  if (name === 'enat-l' || name === 'enat-l-512') return { enat: ENAT_PRESETS[name === 'enat-l' ? 256 : 512] };
  return { enat: SMALL_MODEL };
}
