/**
 * The losses of a discriminator and of what it judges, from logits of any shape (reference §1.7).
 *
 * `non-saturating` is what the released trainer computes under that name: binary cross entropy with logits and targets
 * swapped, so that logits never saturate a sigmoid and all slopes are constant. It is kept for runs that must equal the
 * original. `vanilla` for the generator is the non-saturating loss of Goodfellow et al. (2014), which the released
 * trainer does not have.
 */

import { relu, softplus, type Tensor } from '@tessera/torch';
import { z } from 'zod';

export const adversarialLossSchema = z.enum(['hinge', 'vanilla', 'non-saturating']);
export type AdversarialLoss = z.output<typeof adversarialLossSchema>;

/** The discriminator's: low when real pictures have high logits and false ones low. Scalar. */
export function discriminatorLoss(kind: AdversarialLoss, real: Tensor, fake: Tensor): Tensor {
  const [ofReal, ofFake] = terms(kind, real, fake);
  return ofReal.mean().add(ofFake.mean()).mul(0.5);
}

function terms(kind: AdversarialLoss, real: Tensor, fake: Tensor): [ofReal: Tensor, ofFake: Tensor] {
  switch (kind) {
    case 'hinge':
      return [relu(real.neg().add(1)), relu(fake.add(1))];
    case 'vanilla':
      return [softplus(real.neg()), softplus(fake)];
    case 'non-saturating':
      return [swappedCrossEntropy(1, real), swappedCrossEntropy(0, fake)];
    default:
      return kind satisfies never;
  }
}

/** The generator's: low when its pictures have high logits. Scalar. */
export function generatorLoss(kind: AdversarialLoss, fake: Tensor): Tensor {
  switch (kind) {
    case 'hinge':
      return fake.mean().neg();
    case 'vanilla':
      return softplus(fake.neg()).mean();
    case 'non-saturating':
      return swappedCrossEntropy(1, fake).mean();
    default:
      return kind satisfies never;
  }
}

/** Cross entropy of a constant logit x with the target t: max(x, 0) − x·t + log(1 + e^−|x|). */
function swappedCrossEntropy(logit: number, target: Tensor): Tensor {
  return target.mul(-logit).add(Math.max(logit, 0) + Math.log1p(Math.exp(-Math.abs(logit))));
}
