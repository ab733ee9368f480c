/**
 * ENAT over the steps of one generation: the conditional and the unconditional branch as one batch, with the features
 * of visible tokens carried from step to step. A branch is run only where its result, or the state it leaves, is used; while
 * nothing is visible, images of a class have the same logits, so that a row a class is run.
 */

import { cat, keep, noGrad, scope, type Tensor, tensor } from '@tessera/torch';
import type { Enat, EnatState } from './enat.ts';
import type { MaskedSession, SessionPrediction, SessionTokens } from './family.ts';

export interface EnatPrediction extends SessionPrediction {
  /** Features of the masked tokens: [B, M, D], or [2B, M, D] where both branches ran, the conditional first. */
  maskedFeatures: Tensor;
}

export class EnatSession implements MaskedSession {
  private readonly model: Enat;
  private readonly batch: number;
  private readonly conditioning: Tensor; // [blocks, B or 2B, 1, 8D]
  private readonly labels: number[] | undefined;
  private state: EnatState | undefined; // of B or 2B rows

  /**
   * @param labels [B] int64
   * @param guided whether any step will ask for the unconditional branch
   */
  constructor(model: Enat, labels: Tensor, guided: boolean) {
    this.model = model;
    this.batch = labels.size(0);
    // Reading them would wait for a GPU, which has rows to spare.
    this.labels = labels.device === 'cpu' ? labels.toNumbers() : undefined;
    this.conditioning = noGrad(() =>
      scope(() => {
        const rows = guided ? cat([labels, labels.fullLike(model.nullLabel)]) : labels;
        return keep(model.condition(rows));
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
    const { labels } = this;
    if (nothingVisible && labels !== undefined) return noGrad(() => this.runFirst(input, labels, wantsUncond));
    const both = wantsUncond || (guidance === 'later' && !nothingVisible);
    return noGrad(() => this.run(input, both, wantsUncond));
  }

  /** One row a class, and one for the null label. */
  private runFirst({ masked }: SessionTokens, labels: readonly number[], wantsUncond: boolean): EnatPrediction {
    const { model, batch } = this;
    const classes = [...new Set(labels)];
    const firsts = classes.map((label) => labels.indexOf(label));
    const rows = wantsUncond ? [...firsts, batch] : firsts;
    const features = model.decode(
      {
        masked: masked.narrow(0, 0, 1).expand([rows.length, -1]).contiguous(),
        conditioning: this.conditioning.indexSelect(1, tensor(rows, 'int64')),
      },
      undefined,
    );
    const logits = model.head(features);
    const places = labels.map((label) => classes.indexOf(label));
    const nulls = labels.map(() => classes.length);
    const ofImages = tensor(wantsUncond ? [...places, ...nulls] : places, 'int64');
    return {
      cond: logits.indexSelect(0, ofImages.narrow(0, 0, batch)),
      uncond: wantsUncond ? logits.narrow(0, classes.length, 1).expand([batch, -1, -1]) : undefined,
      maskedFeatures: features.indexSelect(0, ofImages),
    };
  }

  /** The encoder runs where a state is wanted, the decoder where logits are. */
  private run(input: SessionTokens, both: boolean, wantsUncond: boolean): EnatPrediction {
    const { model, batch, conditioning } = this;
    const encoded = both ? 2 * batch : batch;
    const decoded = wantsUncond ? 2 * batch : batch;
    const twice = (x: Tensor, rows: number): Tensor => (rows > batch ? cat([x, x]) : x);
    const state = model.encode({
      tokens: twice(input.tokens, encoded),
      fresh: input.fresh === undefined ? undefined : twice(input.fresh, encoded),
      reused: rowsOf(this.state, encoded),
      conditioning: conditioning.narrow(1, 0, encoded),
    });
    const maskedFeatures = model.decode(
      { masked: twice(input.masked, decoded), conditioning: conditioning.narrow(1, 0, decoded) },
      rowsOf(state, decoded),
    );
    this.replaceState(state);
    const logits = model.head(maskedFeatures);
    return {
      cond: logits.narrow(0, 0, batch),
      uncond: wantsUncond ? logits.narrow(0, batch, batch) : undefined,
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
    this.conditioning.dispose();
  }
}

/** The first rows of a state. */
function rowsOf(state: EnatState | undefined, rows: number): EnatState | undefined {
  if (state === undefined) return undefined;
  return { positions: state.positions.narrow(0, 0, rows), features: state.features.narrow(0, 0, rows) };
}
