// One optimizer step of ENAT through the library's public parts: loss at the usual mask ratio, backward, fused AdamW.
// Random tokens serve: the time of a step does not depend on their values. Without temporal reuse, which half of the
// shards of a training have and which costs another pass of the encoder, so that every step is alike.

import { rand, randint, scope } from '@tessera/torch';
import { AdamW, Enat, enatLoss, enatPreset, initialise } from 'tessera';

/** Mean of Beta(12, 3), the distribution of mask ratios in training. */
const MASK_RATIO = 0.8;

/** Returns a function that takes one step of enat-nano. */
export function enatTraining(batch) {
  const model = initialise((p) => new Enat(enatPreset('enat-nano'), p)).trainable();
  const optimizer = new AdamW(model.parameters, { betas: [0.9, 0.99], weightDecay: 0.03 });
  const { seqLen, config } = model;
  const tokens = randint(0, config.codebookSize, [batch, seqLen]);
  const labels = randint(0, config.numClasses, [batch]);
  const order = scope(() => rand([batch, seqLen]).argsort(1));
  const maskCount = Math.round(MASK_RATIO * seqLen);
  return () =>
    scope(() => {
      const input = { tokens, labels, order, maskCount, labelSmoothing: 0.1, dropout: { probability: 0.1 } };
      enatLoss(model, input).loss.backward();
      optimizer.step(1e-3);
      model.clearGradients();
    });
}
