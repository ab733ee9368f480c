/** The last step of a decoder: norm, activation, 3×3 convolution to the three colours. */

import type { Conv2d, GroupNorm } from '../nn/layers.ts';
import { convolvedNormed } from './bands.ts';
import { swish } from './in-place.ts';
import type { Step } from './steps.ts';

export function outputStep(norm: GroupNorm, conv: Conv2d): Step {
  return {
    run: (x) => conv.forward(swish(norm.forward(x))),
    runBands: (x, rows) => convolvedNormed(x, norm, conv, rows),
  };
}
