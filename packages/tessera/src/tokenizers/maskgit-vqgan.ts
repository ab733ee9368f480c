/**
 * MaskGIT's VQGAN with MAGE's weights (Chang et al. 2022, arXiv 2202.04200; Li et al. 2022, arXiv 2211.09117; reference
 * §1): the tokenizer of AutoNAT and ENAT. Fully convolutional: any size whose sides are multiples of 2^halvings. Tensor
 * names and order are the released checkpoint's, so it loads strictly.
 *
 * Checked against the released implementation by the golden values of the kind maskgit-vq-codec. The network's own range
 * is [0, 1], so pixels need no conversion. Difference: sizes are configurable.
 */

import { avgPool2d, type Tensor } from '@tessera/torch';
import { Conv2d, GroupNorm } from '../nn/layers.ts';
import type { ParameterBuilder } from '../nn/module.ts';
import { upsampledInBands } from './bands.ts';
import { swish } from './in-place.ts';
import { MaskgitResBlock, maskgitMiddle, maskgitStep } from './maskgit-blocks.ts';
import { type MaskgitConfig, maskgitFactor } from './maskgit-config.ts';
import { outputStep } from './output-step.ts';
import { VectorQuantizer } from './quantizer.ts';
import { runSteps, runStepsInBands, type Step } from './steps.ts';
import { Tokenizer } from './tokenizer.ts';
import { upsampleAndConvolve } from './upsample.ts';

export class MaskgitVqgan extends Tokenizer {
  readonly family = 'maskgit-vqgan';
  readonly config: MaskgitConfig;
  readonly quantizer: VectorQuantizer;
  readonly downsampleFactor: number;
  private readonly encoder: Step[];
  private readonly decoder: Step[];

  constructor(config: MaskgitConfig, p: ParameterBuilder) {
    super(p);
    this.config = config;
    this.downsampleFactor = maskgitFactor(config);
    this.encoder = encoderSteps(p.child('encoder'), config);
    this.decoder = decoderSteps(p.child('decoder'), config);
    // The loss of MaskGIT's training is not part of the released code; these weights are VQGAN's.
    this.quantizer = new VectorQuantizer(p.child('quantize'), {
      codebookSize: config.codebookSize,
      codeDim: config.codeDim,
      l2Norm: false,
      commitBeta: 0.25,
      entropyRatio: 0,
      usageFifo: 0,
    });
  }

  /** images — [N, 3, Y, X] float32 in [0, 1]; returns the latent before quantization, [N, codeDim, y, x]. */
  encodeToLatent(images: Tensor): Tensor {
    return runSteps(images, this.encoder);
  }

  /** quantized — [N, codeDim, y, x]; returns images [N, 3, Y, X] float32, nominally in [0, 1], not clamped. */
  decodeLatent(quantized: Tensor): Tensor {
    return runSteps(quantized, this.decoder);
  }

  decodeLatentInBands(quantized: Tensor, tokenRows: number): Tensor {
    return runStepsInBands(quantized, this.decoder, tokenRows);
  }

  toNetwork(images: Tensor): Tensor {
    return images;
  }

  fromNetwork(images: Tensor): Tensor {
    return images.clamp(0, 1);
  }

  override toLossRange(images: Tensor): Tensor {
    return images.mul(2).sub(1);
  }
}

/** conv_in, levels of residual blocks with a halving after each but the last, middle, norm, 1×1 conv to codeDim. */
function encoderSteps(p: ParameterBuilder, config: MaskgitConfig): Step[] {
  const { channels, channelMultipliers, groupNormGroups: groups } = config;
  const convIn = new Conv2d(p.child('conv_in'), 3, channels, 3, { padding: 1, bias: false });
  const steps: Step[] = [{ run: (x) => convIn.forward(x) }];
  let width = channels;
  for (const [level, multiplier] of channelMultipliers.entries()) {
    for (let j = 0; j < config.resBlocks; j++) {
      const block = new MaskgitResBlock(p.child('down', level, 'block', j), width, channels * multiplier, groups);
      steps.push(maskgitStep(block));
      width = channels * multiplier;
    }
    if (level < channelMultipliers.length - 1) steps.push({ run: (x) => avgPool2d(x, [2, 2], [2, 2]) });
  }
  steps.push(...maskgitMiddle(p.child('mid'), width, groups).map(maskgitStep));
  const normOut = new GroupNorm(p.child('norm_out'), width, groups);
  const convOut = new Conv2d(p.child('conv_out'), width, config.codeDim, 1);
  steps.push({ run: (x) => convOut.forward(swish(normOut.forward(x))) });
  return steps;
}

/** The mirror. Level 0 is full resolution; names are given in that order, but the deepest level runs first. */
function decoderSteps(p: ParameterBuilder, config: MaskgitConfig): Step[] {
  const { channels, channelMultipliers, groupNormGroups: groups } = config;
  const widths = channelMultipliers.map((multiplier) => channels * multiplier);
  const deepest = widths.length - 1;
  const convIn = new Conv2d(p.child('conv_in'), config.codeDim, widths[deepest]!, 3, { padding: 1 });
  const middle = maskgitMiddle(p.child('mid'), widths[deepest]!, groups);
  const levels = widths.map((width, level) => {
    const blocks: Step[] = [];
    for (let j = 0; j < config.resBlocks; j++) {
      const before = j > 0 || level === deepest ? width : widths[level + 1]!;
      const block = new MaskgitResBlock(p.child('up', level, 'block', j), before, width, groups);
      blocks.push(maskgitStep(block));
    }
    if (level === 0) return blocks;
    const conv = new Conv2d(p.child('up', level, 'upsample', 'conv'), width, width, 3, { padding: 1 });
    const double: Step = {
      run: (x) => upsampleAndConvolve(x, conv),
      runBands: (x, rows) => upsampledInBands(x, conv, rows),
    };
    return [...blocks, double];
  });
  const normOut = new GroupNorm(p.child('norm_out'), widths[0]!, groups);
  const convOut = new Conv2d(p.child('conv_out'), widths[0]!, 3, 3, { padding: 1 });
  return [
    { run: (x) => convIn.forward(x) },
    ...middle.map(maskgitStep),
    ...levels.toReversed().flat(),
    outputStep(normOut, convOut),
  ];
}
