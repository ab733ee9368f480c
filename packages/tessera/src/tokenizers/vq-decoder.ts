/**
 * Latent grid to image (reference §1.4): the encoder's mirror, with its own number of residual blocks. Level 0 is the
 * deepest. The output is unbounded, nominally [-1, 1].
 */

import type { Tensor } from '@tessera/torch';
import { Conv2d, GroupNorm } from '../nn/layers.ts';
import type { ParameterBuilder } from '../nn/module.ts';
import { outputStep } from './output-step.ts';
import { type Probe, runSteps, runStepsInBands, type Step } from './steps.ts';
import { AttentionBlock, blockStep, Middle, ResBlock, Upsample } from './vq-blocks.ts';
import type { VqConfig } from './vq-config.ts';

interface DecoderLevel {
  blocks: ResBlock[];
  attention: AttentionBlock[];
  upsample: Upsample | undefined;
}

export class VqDecoder {
  private readonly convIn: Conv2d;
  private readonly middle: Middle;
  private readonly levels: DecoderLevel[];
  private readonly normOut: GroupNorm;
  private readonly convOut: Conv2d;

  constructor(p: ParameterBuilder, config: VqConfig) {
    const { channels, groupNormGroups: groups } = config;
    const multipliers = config.channelMultipliers.toReversed();
    let width = channels * multipliers[0]!;
    this.convIn = new Conv2d(p.child('conv_in'), config.latentChannels, width, 3, { padding: 1 });
    this.middle = new Middle(p.child('mid'), width, groups, config.middleAttention);
    this.levels = multipliers.map((multiplier, i) => {
      const level = p.child('conv_blocks', i);
      const blocks: ResBlock[] = [];
      for (let j = 0; j < config.decoderResBlocks; j++) {
        blocks.push(new ResBlock(level.child('res', j), width, channels * multiplier, groups));
        width = channels * multiplier;
      }
      const attention =
        i === 0 && config.deepestAttention
          ? blocks.map((_, j) => new AttentionBlock(level.child('attn', j), width, groups))
          : [];
      const upsample = i === multipliers.length - 1 ? undefined : new Upsample(level.child('upsample'), width);
      return { blocks, attention, upsample };
    });
    this.normOut = new GroupNorm(p.child('norm_out'), width, groups);
    this.convOut = new Conv2d(p.child('conv_out'), width, 3, 3, { padding: 1 });
  }

  /** latent — [N, latentChannels, Y, X]; returns images [N, 3, Y · 2^doublings, X · 2^doublings], nominally [-1, 1]. */
  forward(latent: Tensor, probe?: Probe): Tensor {
    return runSteps(latent, this.steps(), probe);
  }

  /** The same in bands of `tokenRows` rows of the latent; N = 1. */
  forwardBands(latent: Tensor, tokenRows: number): Tensor {
    return runStepsInBands(latent, this.steps(), tokenRows);
  }

  private steps(): Step[] {
    const middle = this.middle.steps;
    const steps: Step[] = [
      { run: (x) => this.convIn.forward(x) },
      ...middle.map((step, i) => {
        const { place: _, ...rest } = step;
        return i === middle.length - 1 ? { ...rest, place: 'decoder.mid' } : rest;
      }),
    ];
    for (const [i, { blocks, attention, upsample }] of this.levels.entries()) {
      for (const [j, block] of blocks.entries()) {
        const attend = attention[j];
        steps.push(blockStep(block));
        if (attend !== undefined) steps.push({ run: (x) => attend.forward(x) });
      }
      if (upsample !== undefined) steps.push(blockStep(upsample, `decoder.block${i}.upsample`));
    }
    steps.push(outputStep(this.normOut, this.convOut));
    return steps;
  }
}
