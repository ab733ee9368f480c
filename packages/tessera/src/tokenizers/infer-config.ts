/**
 * The configuration of a tokenizer from the shapes of its tensors, for checkpoints that come as weights alone. Shapes
 * tell every size; what they do not tell (unit codes, groups of the norms, weights of losses) is as in the preset of these
 * sizes, else as in the released models, unless given.
 */

import { type Shapes, StateDictError } from '../nn/state-dict.ts';
import { type MaskgitConfig, maskgitConfigSchema } from './maskgit-config.ts';
import { type VqConfig, type VqConfigInput, vqConfigSchema, vqPreset, vqPresetNames } from './vq-config.ts';

export function inferMaskgitConfig(shapes: Shapes, where: string): MaskgitConfig {
  const sizes = new Sizes(shapes, where, 'MaskGIT VQGAN');
  const channels = sizes.of('encoder.conv_in.weight', 0);
  return sizes.checked(maskgitConfigSchema, {
    channels,
    channelMultipliers: sizes.multipliers((level) => `encoder.down.${level}.block.0.conv1.weight`, channels),
    resBlocks: sizes.count((j) => `encoder.down.0.block.${j}.conv1.weight`),
    codebookSize: sizes.of('quantize.embedding.weight', 0),
    codeDim: sizes.of('quantize.embedding.weight', 1),
  });
}

/** @param given what shapes do not tell, where it differs from the released models */
export function inferVqConfig(shapes: Shapes, where: string, given: Partial<VqConfigInput> = {}): VqConfig {
  const sizes = new Sizes(shapes, where, 'LlamaGen VQ');
  const channels = sizes.of('encoder.conv_in.weight', 0);
  const channelMultipliers = sizes.multipliers((level) => `encoder.conv_blocks.${level}.res.0.conv1.weight`, channels);
  const told = {
    channels,
    channelMultipliers,
    latentChannels: sizes.of('quant_conv.weight', 1),
    codebookSize: sizes.of('quantize.embedding.weight', 0),
    codeDim: sizes.of('quantize.embedding.weight', 1),
    encoderResBlocks: sizes.count((j) => `encoder.conv_blocks.0.res.${j}.conv1.weight`),
    decoderResBlocks: sizes.count((j) => `decoder.conv_blocks.0.res.${j}.conv1.weight`),
    deepestAttention: shapes.has(`encoder.conv_blocks.${channelMultipliers.length - 1}.attn.0.q.weight`),
    middleAttention: shapes.has('encoder.mid.1.q.weight'),
  };
  const usageFifo = shapes.get('quantize.codebook_used')?.[0] ?? 0;
  return sizes.checked(vqConfigSchema, { ...presetOf(told), ...told, usageFifo, ...given });
}

/** The preset of these sizes, however many codes it has, tells the rest: our small ones have fewer groups than the released models. */
function presetOf(told: Partial<VqConfig>): VqConfig | undefined {
  const names = (Object.keys(told) as (keyof VqConfig)[]).filter((name) => name !== 'codebookSize');
  const sizesOf = (config: Partial<VqConfig>): string => JSON.stringify(names.map((name) => config[name]));
  return vqPresetNames.map((name) => vqPreset(name)).find((preset) => sizesOf(preset) === sizesOf(told));
}

class Sizes {
  private readonly shapes: Shapes;
  private readonly where: string;
  private readonly title: string;

  constructor(shapes: Shapes, where: string, title: string) {
    this.shapes = shapes;
    this.where = where;
    this.title = title;
  }

  of(name: string, axis: number): number {
    const shape = this.shapes.get(name);
    const size = shape?.[axis];
    if (size !== undefined && size > 0) return size;
    const got = shape === undefined ? 'no such tensor' : `[${shape.join(', ')}]`;
    throw new StateDictError(
      `${this.where} is no ${this.title}: expected ${axis + 1} or more sides of ${name}, got ${got}`,
    );
  }

  /** How many of name(0), name(1), … there are. */
  count(name: (index: number) => string): number {
    let count = 0;
    while (this.shapes.has(name(count))) count++;
    return count;
  }

  /** Widths of the levels as multiples of `channels`. */
  multipliers(name: (level: number) => string, channels: number): number[] {
    return Array.from({ length: this.count(name) }, (_, level) => this.of(name(level), 0) / channels);
  }

  checked<Output>(
    schema: { safeParse(input: unknown): { success: boolean; data?: Output; error?: Error } },
    config: unknown,
  ): Output {
    const result = schema.safeParse(config);
    if (result.success) return result.data!;
    throw new StateDictError(
      `${this.where} is no ${this.title}: its shapes make no such network (${result.error!.message.replace(/\s+/g, ' ').slice(0, 200)})`,
    );
  }
}
