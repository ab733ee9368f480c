/**
 * The architectures whose official checkpoints come in and go out: one row each. A row knows its checkpoints by the names
 * of their tensors, finds their sizes, and says how the official code wants the state dict wrapped.
 */

import type { GeneratorConfig, GivenFields } from '../../models/family.ts';
import { type FamilyName, familyNames, familyOf } from '../../models/registry.ts';
import { type Shapes, stateShapes } from '../../nn/state-dict.ts';
import { tokenizerFamily, tokenizerFamilyNames } from '../../tokenizers/registry.ts';

export interface Architecture {
  family: string;
  /** For people. */
  title: string;
  part: 'tokenizer' | 'generator';
  /** The entry that the official scripts read; empty for a bare state dict. */
  entry: string;
  recognises(shapes: Shapes): boolean;
  /** The configuration by the shapes of a checkpoint. */
  infer(shapes: Shapes, given: GivenFields, where: string): Record<string, unknown>;
  /** Names and shapes of such a network, in official order. */
  shapes(config: Record<string, unknown>): Map<string, readonly number[]>;
}

/** Entries of the official tokenizer checkpoints. */
const TOKENIZER_ENTRIES: Record<string, string> = { 'maskgit-vqgan': 'state_dict', 'llamagen-vq': 'model' };

function tokenizers(): Architecture[] {
  return tokenizerFamilyNames.map((family) => {
    const row = tokenizerFamily(family);
    return {
      family,
      title: row.title,
      part: 'tokenizer',
      entry: TOKENIZER_ENTRIES[family] ?? 'model',
      recognises: (shapes) => shapes.has(row.marker),
      infer: (shapes, _, where) => row.infer(shapes, where),
      shapes: (config) => stateShapes((p) => row.construct(config, p)),
    };
  });
}

/** What people call a family, and the entry of its official checkpoints. */
const GENERATORS: Record<FamilyName, { title: string; entry: string }> = {
  autonat: { title: 'AutoNAT', entry: '' },
  enat: { title: 'ENAT', entry: '' },
  gpt: { title: 'GPT', entry: 'model' },
};

function generators(): Architecture[] {
  return familyNames.map((family) => {
    const row = familyOf(family);
    return {
      family,
      ...GENERATORS[family],
      part: 'generator',
      recognises: (shapes) => row.recognises(shapes),
      infer: (shapes, given, where) => ({ ...row.inferConfig(shapes, given, where) }),
      shapes: (config) => stateShapes((p) => row.construct(config as unknown as GeneratorConfig, p)),
    };
  });
}

export const ARCHITECTURES: readonly Architecture[] = [...tokenizers(), ...generators()];

export const architectureNames = ARCHITECTURES.map(({ family }) => family) as [string, ...string[]];

/** Checkpoints that are not read here, by a tensor that only they have: for a helpful error. */
const OTHERS: readonly (readonly [title: string, marker: string])[] = [
  ['a part of an AutoNAT', 'token_emb.word_embeddings.weight'],
  ["a part of a GPT of LlamaGen's", 'tok_embeddings.weight'],
  ['a PatchGAN discriminator', 'main.0.weight'],
  ["a VQGAN of taming-transformers' original layout", 'encoder.down.0.downsample.conv.weight'],
  ['an Inception network', 'Conv2d_1a_3x3.conv.weight'],
  ['a VGG16', 'features.0.weight'],
];

/** The architecture of a checkpoint; undefined where none is known. */
export function recogniseArchitecture(shapes: Shapes): Architecture | undefined {
  // The original VQGAN shares names with MaskGIT's; its halvings have weights, which tells them apart.
  if (shapes.has('encoder.down.0.downsample.conv.weight')) return undefined;
  return ARCHITECTURES.find((architecture) => architecture.recognises(shapes));
}

/** What a checkpoint looks like, for errors: `a LlamaGen VQ`, or its first names. */
export function describeCheckpoint(shapes: Shapes): string {
  const known = recogniseArchitecture(shapes)?.title ?? OTHERS.find(([, marker]) => shapes.has(marker))?.[0];
  if (known !== undefined) return known;
  const names = [...shapes.keys()];
  return `nothing known here (${names.length} tensors: ${names.slice(0, 4).join(', ')}${names.length > 4 ? ', …' : ''})`;
}

export function architectureOf(family: string): Architecture {
  const found = ARCHITECTURES.find((architecture) => architecture.family === family);
  if (found === undefined) throw new Error(`no architecture ${family}`);
  return found;
}
