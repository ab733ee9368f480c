/**
 * ENAT over the steps of one generation: the conditional and the unconditional branch as one batch, with the features
 * of visible tokens carried from step to step. A branch is run only where its result, or the state it leaves, is used.
 * What the decoder's first block makes of mask tokens by themselves is made at the first step, for all of them.
 */

import { arange, cat, keep, noGrad, scope, type Tensor } from '@tessera/torch';
import type { Enat, EnatState, MaskTokens } from './enat.ts';
import type { MaskedSession, SessionPrediction, SessionTokens } from './family.ts';

export interface EnatPrediction extends SessionPrediction {
  /**
   * Features of the masked tokens: [B, M, D], or where both branches ran, the conditional first, [2B, M, D]; [B + 1, M, D]
   * as long as everything is masked.
   */
  maskedFeatures: Tensor;
}

export class EnatSession implements MaskedSession {
  private readonly model: Enat;
  private readonly batch: number;
  private readonly conditioning: Tensor; // [blocks, B or 2B, 1, 8D]
  private readonly guided: boolean;
  private state: EnatState | undefined; // of B or 2B rows
  private maskTokens: KnownMaskTokens | undefined;

  /**
   * @param labels [B] int64
   * @param guided whether any step will ask for the unconditional branch
   */
  constructor(model: Enat, labels: Tensor, guided: boolean) {
    this.model = model;
    this.batch = labels.size(0);
    this.guided = guided;
    this.conditioning = noGrad(() =>
      scope(() => {
        if (!guided) return keep(model.condition(labels));
        const rows = model.condition(cat([labels, labels.narrow(0, 0, 1).fullLike(model.nullLabel)]));
        const none = rows.narrow(1, this.batch, 1).expand([-1, this.batch, -1, -1]);
        return keep(cat([rows.narrow(1, 0, this.batch), none], 1));
      }),
    );
  }

  /** What the last prediction left of the visible tokens, [B or 2B, N, …]; undefined while nothing is visible. */
  get visible(): EnatState | undefined {
    return this.state;
  }

  predict(input: SessionTokens, guidance: 'now' | 'later' | 'done'): EnatPrediction {
    // With nothing visible there is no state to keep, so a branch whose logits are not wanted need not run.
    const nothingVisible = input.fresh === undefined && this.state === undefined;
    const wantsUncond = guidance === 'now';
    const both = wantsUncond || (guidance === 'later' && !nothingVisible);
    return noGrad(() => this.run(input, both, wantsUncond));
  }

  /** The encoder runs where a state is wanted, the decoder where logits are. */
  private run(input: SessionTokens, both: boolean, wantsUncond: boolean): EnatPrediction {
    const { model, batch, conditioning } = this;
    const encoded = both ? 2 * batch : batch;
    const twice = (x: Tensor, rows: number): Tensor => (rows > batch ? cat([x, x.narrow(0, 0, rows - batch)]) : x);
    const state = model.encode({
      tokens: twice(input.tokens, encoded),
      fresh: input.fresh === undefined ? undefined : twice(input.fresh, encoded),
      reused: rowsOf(this.state, encoded),
      conditioning: conditioning.narrow(1, 0, encoded),
    });
    this.maskTokens ??= new KnownMaskTokens(model, input.masked, conditioning, this.guided);
    // As long as everything is masked, the unconditional rows are one and the same.
    const others = !wantsUncond ? 0 : input.masked.size(1) === model.seqLen ? 1 : batch;
    const decoded = batch + others;
    const maskedFeatures = model.decode(
      { masked: twice(input.masked, decoded), conditioning: conditioning.narrow(1, 0, decoded) },
      rowsOf(state, decoded),
      this.maskTokens.at(input.masked, others),
    );
    this.replaceState(state);
    const logits = model.head(maskedFeatures);
    return {
      cond: logits.narrow(0, 0, batch),
      uncond: others === 0 ? undefined : logits.narrow(0, batch, others).expand([batch, -1, -1]),
      maskedFeatures,
    };
  }

  private replaceState(next: EnatState | undefined): void {
    const before = this.state;
    // Fresh handles: the positions may be the caller's own tensor.
    this.state =
      next === undefined
        ? undefined
        : { positions: keep(next.positions.detach()), features: keep(next.features.detach()) };
    before?.positions.dispose();
    before?.features.dispose();
  }

  dispose(): void {
    this.replaceState(undefined);
    this.maskTokens?.dispose();
    this.conditioning.dispose();
  }
}

/** Mask tokens of the first step, from which later steps take theirs: what is masked later was masked before. */
class KnownMaskTokens {
  private readonly batch: number;
  private readonly count: number;
  /** Rows of unconditional tokens: none, one for all where everything is masked, or one each. */
  private readonly others: number;
  /** Place of each position among a row's masked ones: [B, L] int64. */
  private readonly places: Tensor;
  private readonly known: MaskTokens; // [B + others, M, …]

  /**
   * @param masked [B, M] int64
   * @param conditioning [blocks, B or 2B, 1, 8D]
   */
  constructor(model: Enat, masked: Tensor, conditioning: Tensor, guided: boolean) {
    const [batch, count] = masked.shape as [number, number];
    this.batch = batch;
    this.count = count;
    this.others = !guided ? 0 : count === model.seqLen ? 1 : batch;
    const rows = batch + this.others;
    this.places = scope(() => {
      const order = arange(0, count).to(masked.device as 'cpu');
      const places = masked.narrow(1, 0, 1).zerosLike().expand([-1, model.seqLen]).contiguous();
      return keep(places.scatter(1, masked, order.expand([batch, -1]).contiguous()));
    });
    this.known = scope(() => {
      const positions = cat([masked, masked.narrow(0, 0, this.others)]);
      const { embedded, queries, keysValues } = model.maskTokens(positions, conditioning.narrow(1, 0, rows));
      return { embedded: keep(embedded), queries: keep(queries), keysValues: keep(keysValues) };
    });
  }

  /**
   * @param masked [B, M'] int64, some of the first step's positions
   * @param others unconditional rows wanted: 0, 1 or B
   * @returns of B + others rows, in the caller's scope
   */
  at(masked: Tensor, others: number): MaskTokens {
    const { batch, count } = this;
    const wanted = batch + others;
    const isFirst = masked.size(1) === count && (others === 0 || others === this.others);
    const pick = (x: Tensor): Tensor => {
      if (isFirst) return x.narrow(0, 0, wanted);
      return x
        .flatten(0, 1)
        .indexSelect(0, index!)
        .view([wanted, masked.size(1), -1]);
    };
    const index = isFirst ? undefined : this.index(masked, others);
    const { embedded, queries, keysValues } = this.known;
    return { embedded: pick(embedded), queries: pick(queries), keysValues: pick(keysValues) };
  }

  /** Rows among the known ones, flat: [(B + others) · M'] int64. */
  private index(masked: Tensor, others: number): Tensor {
    const { batch, count } = this;
    const places = this.places.gather(1, masked);
    const starts = arange(0, batch)
      .to(masked.device as 'cpu')
      .mul(count)
      .unsqueeze(1);
    const own = places.add(starts);
    if (others === 0) return own.flatten();
    const none = places.narrow(0, 0, others).add(this.others === 1 ? batch * count : starts.add(batch * count));
    return cat([own, none]).flatten();
  }

  dispose(): void {
    for (const tensor of [this.places, ...Object.values(this.known)]) tensor.dispose();
  }
}

/** The first rows of a state. */
function rowsOf(state: EnatState | undefined, rows: number): EnatState | undefined {
  if (state === undefined) return undefined;
  return { positions: state.positions.narrow(0, 0, rows), features: state.features.narrow(0, 0, rows) };
}
