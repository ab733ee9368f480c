/**
 * AutoNAT over the steps of one generation: it carries nothing from step to step but the class tokens. As long as everything is
 * masked, images of a class have the same logits, so that a row a class is run, and one without a class.
 */

import { cat, keep, noGrad, scope, type Tensor, tensor } from '@tessera/torch';
import type { AutoNat } from './autonat.ts';
import type { MaskedSession, SessionPrediction, SessionTokens } from './family.ts';

export class AutoNatSession implements MaskedSession {
  private readonly model: AutoNat;
  private readonly batch: number;
  private readonly conditioning: Tensor; // [B or 2B, 1, D]
  private readonly labels: number[] | undefined;

  constructor(model: AutoNat, labels: Tensor, guided: boolean) {
    this.model = model;
    this.batch = labels.size(0);
    // Reading them would wait for a GPU, which has rows to spare.
    this.labels = labels.device === 'cpu' ? labels.toNumbers() : undefined;
    this.conditioning = noGrad(() =>
      scope(() => keep(model.condition(guided ? cat([labels, labels.fullLike(model.nullLabel)]) : labels))),
    );
  }

  /** No step leaves anything for a later one, so the unconditional branch runs only where its logits are wanted. */
  predict(input: SessionTokens, guidance: 'now' | 'later' | 'done'): SessionPrediction {
    const wantsUncond = guidance === 'now';
    return noGrad(() => (input.blank ? this.runBlank(input, wantsUncond) : this.run(input, wantsUncond)));
  }

  private runBlank({ tokens, masked }: SessionTokens, wantsUncond: boolean): SessionPrediction {
    const { batch, labels } = this;
    // The first image of each class. On a GPU all of them: an index would have to be moved there.
    const firsts = labels?.flatMap((label, i) => (labels.indexOf(label) === i ? [i] : []));
    const numClasses = firsts?.length ?? batch;
    const count = wantsUncond ? numClasses + 1 : numClasses;
    const conditioning =
      firsts === undefined
        ? this.conditioning.narrow(0, 0, count)
        : this.conditioning.indexSelect(0, tensor([...firsts, batch].slice(0, count), 'int64'));
    const same = (x: Tensor): Tensor => x.narrow(0, 0, 1).expand([count, -1]).contiguous();
    const logits = this.logits(same(tokens), conditioning, same(masked));
    const ofClasses = logits.narrow(0, 0, numClasses);
    const places = labels?.map((label) => firsts!.findIndex((i) => labels[i] === label)) ?? [];
    return {
      cond: numClasses === batch ? ofClasses : ofClasses.indexSelect(0, tensor(places, 'int64')),
      uncond: wantsUncond ? logits.narrow(0, numClasses, 1).expand([batch, -1, -1]) : undefined,
    };
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
