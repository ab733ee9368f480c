/** AutoNAT over the steps of one generation: it carries nothing from step to step but the class tokens. */

import { cat, keep, noGrad, scope, type Tensor } from '@tessera/torch';
import type { AutoNat } from './autonat.ts';
import type { MaskedSession, SessionPrediction, SessionTokens } from './family.ts';

export class AutoNatSession implements MaskedSession {
  private readonly model: AutoNat;
  private readonly batch: number;
  private readonly conditioning: Tensor; // [B or 2B, 1, D]
  private hasBegun = false;

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
    // As long as everything is masked, the unconditional rows are one and the same.
    const isBlank = !this.hasBegun && masked.size(1) === model.seqLen;
    this.hasBegun = true;
    const others = guidance !== 'now' ? 0 : isBlank ? 1 : batch;
    const withOthers = (x: Tensor): Tensor => (others === 0 ? x : cat([x, x.narrow(0, 0, others)]));
    return noGrad(() => {
      const conditioning = this.conditioning.narrow(0, 0, batch + others);
      const logits = model.head(
        model.features({ tokens: withOthers(tokens), conditioning, wanted: withOthers(masked) }),
      );
      const uncond = others === 0 ? undefined : logits.narrow(0, batch, others).expand([batch, -1, -1]);
      return { cond: logits.narrow(0, 0, batch), uncond };
    });
  }

  dispose(): void {
    this.conditioning.dispose();
  }
}
