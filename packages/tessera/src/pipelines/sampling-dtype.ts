/**
 * What a model computes in while it samples: its own float32, or int8 products in its blocks (about 1.5 times as fast on
 * a CPU without VNNI, at an error of a few percent in the logits: docs/benchmarks.md).
 */

import type { GeneratorModel } from '../models/family.ts';
import { PipelineError } from './events.ts';

export const samplingDtypes = ['float32', 'int8'] as const;
export type SamplingDtype = (typeof samplingDtypes)[number];

export function useDtype(model: GeneratorModel, dtype: SamplingDtype = 'float32'): void {
  if (dtype === 'float32') return;
  if (model.generation !== 'masked') {
    throw new PipelineError(
      'OPTIONS',
      `--dtype int8 is for autonat and enat, this model is of the family ${model.family}: leave it out.`,
    );
  }
  if (!model.useInt8()) {
    throw new PipelineError(
      'OPTIONS',
      '--dtype int8 needs a libtorch with fbgemm, as builds for x86 have; this one has none: leave it out.',
    );
  }
}
