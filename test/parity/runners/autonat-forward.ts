/** A forward pass of AutoNAT with its intermediate values. */

import { noGrad } from '@tessera/torch';
import type { Output } from '../compare.ts';
import type { Runner } from '../runner.ts';
import { autonatModel } from './nat-model.ts';

export const autonatForward: Runner = (context) =>
  noGrad(() => {
    const model = autonatModel(context);
    const activations = new Map<string, Output>();
    const features = model.features({
      tokens: context.tensor('ids'),
      conditioning: model.condition(context.tensor('labels').flatten()),
      probe: (place, value) => void activations.set(place, value),
    });
    return { logits: model.head(features), activations };
  });
