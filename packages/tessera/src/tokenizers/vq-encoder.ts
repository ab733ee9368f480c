/**
 * Image to latent grid (reference §1.3): a 3×3 convolution, levels of residual blocks with a halving after each but the
 * last, the middle, and a 3×3 convolution to `latentChannels`.
 */

import type { Tensor } from '@tessera/torch';
import { Conv2d, GroupNorm } from '../nn/layers.ts';
import type { ParameterBuilder } from '../nn/module.ts';
import { swish } from './in-place.ts';
import { type Probe, runSteps, type Step } from './steps.ts';
import { AttentionBlock, Downsample, Middle, ResBlock } from './vq-blocks.ts';
import type { VqConfig } from './vq-config.ts';

interface EncoderLevel {
  blocks: ResBlock[];
  attention: AttentionBlock[];
  downsample: Downsample | undefined;
}

export class VqEncoder {
  private readonly convIn: Conv2d;
  private readonly levels: EncoderLevel[];
  private readonly middle: Middle;
  private readonly normOut: GroupNorm;
  private readonly convOut: Conv2d;

  constructor(p: ParameterBuilder, config: VqConfig) {
    const { channels, channelMultipliers, groupNormGroups: groups } = config;
    const deepest = channelMultipliers.length - 1;
    this.convIn = new Conv2d(p.child('conv_in'), 3, channels, 3, { padding: 1 });
    let width = channels;
    this.levels = channelMultipliers.map((multiplier, i) => {
      const level = p.child('conv_blocks', i);
      const blocks: ResBlock[] = [];
      for (let j = 0; j < config.encoderResBlocks; j++) {
        blocks.push(new ResBlock(level.child('res', j), width, channels * multiplier, groups));
        width = channels * multiplier;
      }
      const attention =
        i === deepest && config.deepestAttention
          ? blocks.map((_, j) => new AttentionBlock(level.child('attn', j), width, groups))
          : [];
      const downsample = i === deepest ? undefined : new Downsample(level.child('downsample'), width);
      return { blocks, attention, downsample };
    });
    this.middle = new Middle(p.child('mid'), width, groups, config.middleAttention);
    this.normOut = new GroupNorm(p.child('norm_out'), width, groups);
    this.convOut = new Conv2d(p.child('conv_out'), width, config.latentChannels, 3, { padding: 1 });
  }

  /** images — [N, 3, Y, X] in [-1, 1]; returns [N, latentChannels, Y / 2^halvings, X / 2^halvings]. */
  forward(images: Tensor, probe?: Probe): Tensor {
    const steps: Step[] = [{ run: (x) => this.convIn.forward(x) }];
    for (const [i, { blocks, attention, downsample }] of this.levels.entries()) {
      for (const [j, block] of blocks.entries()) {
        const last = j === blocks.length - 1;
        const attend = attention[j];
        steps.push({ run: (x) => block.forward(x), ...(last && { place: `encoder.level${i}.lastRes` }) });
        if (attend === undefined) continue;
        steps.push({ run: (x) => attend.forward(x), ...(last && { place: `encoder.level${i}.lastAttention` }) });
      }
      if (downsample === undefined) continue;
      steps.push({ run: (x) => downsample.forward(x), place: `encoder.level${i}.downsample` });
    }
    for (const { run, place } of this.middle.steps) steps.push({ run, ...(place && { place: `encoder.${place}` }) });
    steps.push({ run: (x) => this.convOut.forward(swish(this.normOut.forward(x))), place: 'encoder.out' });
    return runSteps(images, steps, probe);
  }
}
