/**
 * AutoNAT over the steps of one generation: it carries nothing from step to step but the class tokens. As long as everything is
 * masked, images of a class have the same logits, so that a row a class is run, and one without a class.
 */

import { cat, keep, noGrad, scope, type Tensor, tensor } from '@tessera/torch';
import type { AutoNat } from './autonat.ts';
import type { MaskedSession, SessionPrediction, SessionTokens } from './family.ts';
import { distinctLabels, type Openings } from './openings.ts';

export class AutoNatSession implements MaskedSession {
  private readonly model: AutoNat;
  private readonly batch: number;
  private readonly conditioning: Tensor; // [B or 2B, 1, D]
  private readonly labels: number[] | undefined;
  private readonly openings: Openings | undefined;
  private hasBegun = false;

  constructor(model: AutoNat, labels: Tensor, guided: boolean, openings?: Openings) {
    this.model = model;
    this.openings = openings;
    this.batch = labels.size(0);
    // Reading them would wait for a GPU, which has rows to spare.
    this.labels = labels.device === 'cpu' ? labels.toNumbers() : undefined;
    this.conditioning = noGrad(() =>
      scope(() => keep(model.condition(guided ? cat([labels, labels.fullLike(model.nullLabel)]) : labels))),
    );
  }

  /** No step leaves anything for a later one, so the unconditional branch runs only where its logits are wanted. */
  predict(input: SessionTokens, guidance: 'now' | 'later' | 'done'): SessionPrediction {
    const isBlank = !this.hasBegun && input.masked.size(1) === this.model.seqLen;
    this.hasBegun = true;
    const wantsUncond = guidance === 'now';
    return noGrad(() => (isBlank ? this.runBlank(input, wantsUncond) : this.run(input, wantsUncond)));
  }

  /** One row a class, and one for the null label; those that are kept do not run. */
  private runBlank({ tokens, masked }: SessionTokens, wantsUncond: boolean): SessionPrediction {
    const { batch, labels, openings, model } = this;
    const run = (conditioning: Tensor): Tensor => {
      const same = (x: Tensor): Tensor =>
        x
          .narrow(0, 0, 1)
          .expand([conditioning.size(0), -1])
          .contiguous();
      return this.logits(same(tokens), conditioning, same(masked));
    };
    const branches = (cond: Tensor, uncond: Tensor): SessionPrediction => ({
      cond,
      uncond: wantsUncond ? uncond.expand([batch, -1, -1]) : undefined,
    });
    // A row an image on a GPU: an index would have to be moved there.
    if (labels === undefined) {
      const logits = run(this.conditioning.narrow(0, 0, wantsUncond ? batch + 1 : batch));
      return branches(logits.narrow(0, 0, batch), logits.narrow(0, logits.size(0) - 1, 1));
    }
    const { classes, places } = distinctLabels(wantsUncond ? [...labels, model.nullLabel] : labels);
    const ofClasses = (some: number[]): Tensor => run(model.condition(tensor(some, 'int64')));
    const logits = openings?.logitsOf(classes, (label) => ofClasses([label])) ?? ofClasses(classes);
    const ofImages = logits.indexSelect(0, tensor(places.slice(0, batch), 'int64'));
    return branches(ofImages, logits.narrow(0, places.at(-1)!, 1));
  }

  private run({ tokens, masked }: SessionTokens, wantsUncond: boolean): SessionPrediction {
    const { batch } = this;
    const twice = (x: Tensor): Tensor => (wantsUncond ? cat([x, x]) : x);
    const conditioning = this.conditioning.narrow(0, 0, wantsUncond ? 2 * batch : batch);
    const logits = this.logits(twice(tokens), conditioning, twice(masked));
    return {
      cond: logits.narrow(0, 0, batch),
      uncond: wantsUncond ? logits.narrow(0, batch, batch) : undefined,
    };
  }

  private logits(tokens: Tensor, conditioning: Tensor, wanted: Tensor): Tensor {
    return this.model.head(this.model.features({ tokens, conditioning, wanted }));
  }

  dispose(): void {
    this.conditioning.dispose();
  }
}
