/**
 * The mixed blocks of InceptionV3 (Szegedy et al. 2016) as pytorch-fid patched them to agree with the TensorFlow graph of
 * 2015: 3×3 averages leave the padding out of the count, and the pool branch of the last block is a maximum. Every block is
 * branches side by side, joined along the channels; a branch is convolutions one after another. All names are the official
 * weight file's.
 */

import { avgPool2d, batchNorm, cat, conv2d, maxPool2d, relu, type Tensor } from '@tessera/torch';
import { ONES, ZEROS } from '../nn/initialisation.ts';
import type { ParameterBuilder } from '../nn/module.ts';

/** Kernel and stride of a convolution; `same` pads so that stride 1 keeps the size. */
interface Shape {
  kernel: readonly [number, number];
  stride?: number;
  same?: boolean;
}

const EPS = 1e-3;
const POINT: Shape = { kernel: [1, 1] };
const THREE: Shape = { kernel: [3, 3], same: true };
const FIVE: Shape = { kernel: [5, 5], same: true };
const HALVE: Shape = { kernel: [3, 3], stride: 2 };
const row = (length: number): Shape => ({ kernel: [1, length], same: true });
const column = (length: number): Shape => ({ kernel: [length, 1], same: true });

/** Convolution without bias, batch norm by the running statistics, ReLU. */
export class BasicConv {
  private readonly weight: Tensor; // [out, in, ky, kx]
  private readonly scale: Tensor; // [out]
  private readonly shift: Tensor; // [out]
  private readonly mean: Tensor; // [out]
  private readonly variance: Tensor; // [out]
  private readonly stride: number;
  private readonly padding: readonly [number, number];

  constructor(p: ParameterBuilder, inChannels: number, outChannels: number, { kernel, stride = 1, same }: Shape) {
    this.weight = p.child('conv').parameter('weight', [outChannels, inChannels, ...kernel], { kind: 'fan-in-uniform' });
    const norm = p.child('bn');
    this.scale = norm.parameter('weight', [outChannels], ONES);
    this.shift = norm.parameter('bias', [outChannels], ZEROS);
    this.mean = norm.buffer('running_mean', [outChannels], ZEROS);
    this.variance = norm.buffer('running_var', [outChannels], ONES);
    this.stride = stride;
    this.padding = same ? [(kernel[0] - 1) / 2, (kernel[1] - 1) / 2] : [0, 0];
  }

  forward(x: Tensor): Tensor {
    const y = conv2d(x, this.weight, undefined, [this.stride, this.stride], this.padding);
    return relu(batchNorm(y, this.scale, this.shift, this.mean, this.variance, false, 0, EPS));
  }
}

/** The convolutions before the mixed blocks. */
export function stem(p: ParameterBuilder): BasicConv[] {
  return [
    new BasicConv(p.child('Conv2d_1a_3x3'), 3, 32, HALVE),
    new BasicConv(p.child('Conv2d_2a_3x3'), 32, 32, { kernel: [3, 3] }),
    new BasicConv(p.child('Conv2d_2b_3x3'), 32, 64, THREE),
    new BasicConv(p.child('Conv2d_3b_1x1'), 64, 80, POINT),
    new BasicConv(p.child('Conv2d_4a_3x3'), 80, 192, { kernel: [3, 3] }),
  ];
}

export const maxPool = (x: Tensor): Tensor => maxPool2d(x, [3, 3], [2, 2]);
const averageAround = (x: Tensor): Tensor => avgPool2d(x, [3, 3], [1, 1], [1, 1], false, false);
const maximumAround = (x: Tensor): Tensor => maxPool2d(x, [3, 3], [1, 1], [1, 1]);

type Pool = (x: Tensor) => Tensor;
type Layer = readonly [name: string, outChannels: number, shape: Shape];

export class MixedBlock {
  /** The first branch of one convolution alone: its output is what sFID looks at. */
  readonly first: BasicConv[];
  private readonly branches: ((x: Tensor) => Tensor)[] = [];

  /**
   * @param branches names, widths and kernels, in the order of their channels
   * @param pool the last branch: a pooling, and after it `branch_pool` of `poolWidth` channels unless that is 0
   */
  constructor(p: ParameterBuilder, inChannels: number, branches: readonly Branch[], pool: Pool, poolWidth: number) {
    this.first = [];
    for (const { chain, split = [] } of branches) {
      let width = inChannels;
      const convolutions = chain.map(([name, outChannels, shape]) => {
        const layer = new BasicConv(p.child(name), width, outChannels, shape);
        width = outChannels;
        return layer;
      });
      const ends = split.map(([name, outChannels, shape]) => new BasicConv(p.child(name), width, outChannels, shape));
      if (this.branches.length === 0) this.first = convolutions;
      this.branches.push((x) => {
        const y = convolutions.reduce((value, layer) => layer.forward(value), x);
        return ends.length === 0
          ? y
          : cat(
              ends.map((layer) => layer.forward(y)),
              1,
            );
      });
    }
    const projection = poolWidth > 0 ? new BasicConv(p.child('branch_pool'), inChannels, poolWidth, POINT) : undefined;
    this.branches.push((x) => projection?.forward(pool(x)) ?? pool(x));
  }

  forward(x: Tensor): Tensor {
    return cat(
      this.branches.map((branch) => branch(x)),
      1,
    );
  }
}

interface Branch {
  chain: readonly Layer[];
  /** Convolutions side by side after the chain. */
  split?: readonly Layer[];
}

/** 35×35 */
export function mixed5(p: ParameterBuilder, inChannels: number, poolWidth: number): MixedBlock {
  const branches: Branch[] = [
    { chain: [['branch1x1', 64, POINT]] },
    {
      chain: [
        ['branch5x5_1', 48, POINT],
        ['branch5x5_2', 64, FIVE],
      ],
    },
    {
      chain: [
        ['branch3x3dbl_1', 64, POINT],
        ['branch3x3dbl_2', 96, THREE],
        ['branch3x3dbl_3', 96, THREE],
      ],
    },
  ];
  return new MixedBlock(p, inChannels, branches, averageAround, poolWidth);
}

/** 35×35 to 17×17 */
export function mixed6a(p: ParameterBuilder): MixedBlock {
  const branches: Branch[] = [
    { chain: [['branch3x3', 384, HALVE]] },
    {
      chain: [
        ['branch3x3dbl_1', 64, POINT],
        ['branch3x3dbl_2', 96, THREE],
        ['branch3x3dbl_3', 96, HALVE],
      ],
    },
  ];
  return new MixedBlock(p, 288, branches, maxPool, 0);
}

/** 17×17, with 7×7 kernels as rows and columns. */
export function mixed6(p: ParameterBuilder, width: number): MixedBlock {
  const [across, down] = [row(7), column(7)];
  const branches: Branch[] = [
    { chain: [['branch1x1', 192, POINT]] },
    {
      chain: [
        ['branch7x7_1', width, POINT],
        ['branch7x7_2', width, across],
        ['branch7x7_3', 192, down],
      ],
    },
    {
      chain: [
        ['branch7x7dbl_1', width, POINT],
        ['branch7x7dbl_2', width, down],
        ['branch7x7dbl_3', width, across],
        ['branch7x7dbl_4', width, down],
        ['branch7x7dbl_5', 192, across],
      ],
    },
  ];
  return new MixedBlock(p, 768, branches, averageAround, 192);
}

/** 17×17 to 8×8 */
export function mixed7a(p: ParameterBuilder): MixedBlock {
  const branches: Branch[] = [
    {
      chain: [
        ['branch3x3_1', 192, POINT],
        ['branch3x3_2', 320, HALVE],
      ],
    },
    {
      chain: [
        ['branch7x7x3_1', 192, POINT],
        ['branch7x7x3_2', 192, row(7)],
        ['branch7x7x3_3', 192, column(7)],
        ['branch7x7x3_4', 192, HALVE],
      ],
    },
  ];
  return new MixedBlock(p, 768, branches, maxPool, 0);
}

/** 8×8; the last one pools by maximum. */
export function mixed7(p: ParameterBuilder, inChannels: number, pool: 'average' | 'maximum'): MixedBlock {
  const branches: Branch[] = [
    { chain: [['branch1x1', 320, POINT]] },
    {
      chain: [['branch3x3_1', 384, POINT]],
      split: [
        ['branch3x3_2a', 384, row(3)],
        ['branch3x3_2b', 384, column(3)],
      ],
    },
    {
      chain: [
        ['branch3x3dbl_1', 448, POINT],
        ['branch3x3dbl_2', 384, THREE],
      ],
      split: [
        ['branch3x3dbl_3a', 384, row(3)],
        ['branch3x3dbl_3b', 384, column(3)],
      ],
    },
  ];
  return new MixedBlock(p, inChannels, branches, pool === 'average' ? averageAround : maximumAround, 192);
}
