/** What judges pictures in the training of a tokenizer: its interface, its configuration, and which kinds there are. */

import { strictConfig } from '@tessera/schedule';
import type { Tensor } from '@tessera/torch';
import { z } from 'zod';
import { Module } from '../nn/module.ts';

export const discriminatorSchema = z.discriminatedUnion('kind', [
  strictConfig({
    /** Judges overlapping patches (Isola et al., CVPR 2017): the default of the released trainer. */
    kind: z.literal('patchgan'),
    /** Width of the first layer; it doubles with each, up to eight times. */
    baseChannels: z.int().min(1).max(1024).default(64),
    /** Layers that halve the picture; a patch of 3 is 70 pixels wide. */
    numLayers: z.int().min(1).max(8).default(3),
  }),
  strictConfig({
    /** Judges whole pictures, with blurred downsampling. */
    kind: z.literal('stylegan'),
    /** Factor on the widths at 64 pixels and above. */
    channelMultiplier: z.number().positive().max(16).default(1),
  }),
]);

export type DiscriminatorConfig = z.output<typeof discriminatorSchema>;

export abstract class Discriminator extends Module {
  /**
   * images — [N, 3, Y, X] float32 in the tokenizer's own range; returns logits of being real, [N, 1, y, x] a patch each or
   * [N, 1]. In training, a batch is normalised by itself, and running statistics change.
   */
  abstract forward(images: Tensor, training: boolean): Tensor;
}
