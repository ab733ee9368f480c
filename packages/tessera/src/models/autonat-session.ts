/** AutoNAT over the steps of one generation: it carries nothing from step to step but the class tokens. */

import { cat, keep, noGrad, scope, type Tensor } from '@tessera/torch';
import type { AutoNat } from './autonat.ts';
import type { MaskedSession, SessionPrediction, SessionTokens } from './family.ts';

export class AutoNatSession implements MaskedSession {
  private readonly model: AutoNat;
  private readonly batch: number;
  private readonly conditioning: Tensor; // [B or 2B, 1, D]

  constructor(model: AutoNat, labels: Tensor, guided: boolean) {
    this.model = model;
    this.batch = labels.size(0);
    this.conditioning = noGrad(() =>
      scope(() => keep(model.condition(guided ? cat([labels, labels.fullLike(model.nullLabel)]) : labels))),
    );
  }

  /** No step leaves anything for a later one, so the unconditional branch runs only where its logits are wanted. */
  predict({ tokens, masked }: SessionTokens, guidance: 'now' | 'later' | 'done'): SessionPrediction {
    const { model, batch } = this;
    const both = guidance === 'now';
    const twice = (x: Tensor): Tensor => (both ? cat([x, x]) : x);
    return noGrad(() => {
      const conditioning = this.conditioning.narrow(0, 0, both ? 2 * batch : batch);
      const logits = model.head(model.features({ tokens: twice(tokens), conditioning, wanted: twice(masked) }));
      return { cond: logits.narrow(0, 0, batch), uncond: both ? logits.narrow(0, batch, batch) : undefined };
    });
  }

  dispose(): void {
    this.conditioning.dispose();
  }
}
