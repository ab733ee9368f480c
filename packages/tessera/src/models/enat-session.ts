/**
 * ENAT over the steps of one generation: the conditional and the unconditional branch as one batch, with the features
 * of visible tokens carried from step to step. A branch is run only where its result, or the state it leaves, is used; while
 * nothing is visible, images of a class have the same logits, so that a row a class is run. What the decoder's first block
 * makes of mask tokens by themselves is made at the first step, for all of them.
 */

import { arange, cat, keep, noGrad, scope, type Tensor, tensor } from '@tessera/torch';
import type { Enat, EnatState, MaskTokens } from './enat.ts';
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
    // Reading them would wait for a GPU, which has rows to spare.
    this.labels = labels.device === 'cpu' ? labels.toNumbers() : undefined;
    this.conditioning = noGrad(() =>
      scope(() => {
        if (!guided) return keep(model.condition(labels));
        const rows = model.condition(cat([labels, labels.narrow(0, 0, 1).fullLike(model.nullLabel)]));
        const nulls = rows.narrow(1, this.batch, 1).expand([-1, this.batch, -1, -1]);
        return keep(cat([rows.narrow(1, 0, this.batch), nulls], 1));
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
    const { conditioning, rowOf, numClasses } = this.rowsOfClasses(labels);
    // A step that revealed nothing is followed by another first one.
    this.maskTokens?.dispose();
    this.maskTokens = new KnownMaskTokens(model, masked, conditioning, rowOf);
    const count = wantsUncond ? numClasses + 1 : numClasses;
    const features = model.decode(
      {
        masked: masked.narrow(0, 0, 1).expand([count, -1]).contiguous(),
        conditioning: conditioning.narrow(1, 0, count),
      },
      undefined,
      this.maskTokens.first(count),
    );
    const logits = model.head(features);
    return {
      cond: logits.indexSelect(0, rowOf.narrow(0, 0, batch)),
      uncond: wantsUncond ? logits.narrow(0, numClasses, 1).expand([batch, -1, -1]) : undefined,
      maskedFeatures: features.indexSelect(0, wantsUncond ? rowOf : rowOf.narrow(0, 0, batch)),
    };
  }

  /** One row a class and, where guided, one for the null label: their conditioning, and which of them each row of the session is. */
  private rowsOfClasses(labels: readonly number[]): { conditioning: Tensor; rowOf: Tensor; numClasses: number } {
    const { batch, guided } = this;
    const classes = [...new Set(labels)];
    const rows = classes.map((label) => labels.indexOf(label));
    const places = labels.map((label) => classes.indexOf(label));
    const nulls = labels.map(() => classes.length);
    return {
      conditioning: this.conditioning.indexSelect(1, tensor(guided ? [...rows, batch] : rows, 'int64')),
      rowOf: tensor(guided ? [...places, ...nulls] : places, 'int64'),
      numClasses: classes.length,
    };
  }

  /** Of what is masked at a first step that is not blank: of all positions a class, or of each image's own where those are fewer. */
  private knownMaskTokens(masked: Tensor): KnownMaskTokens {
    const { model, batch, labels } = this;
    const numRows = this.guided ? 2 * batch : batch;
    const ofClasses = labels === undefined ? undefined : this.rowsOfClasses(labels);
    if (ofClasses === undefined || ofClasses.conditioning.size(1) * model.seqLen > numRows * masked.size(1)) {
      const every = arange(0, numRows, 1, { device: masked.device });
      return new KnownMaskTokens(model, masked, this.conditioning, every);
    }
    const all = arange(0, model.seqLen).unsqueeze(0).expand([batch, -1]).contiguous();
    return new KnownMaskTokens(model, all, ofClasses.conditioning, ofClasses.rowOf);
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
    this.maskTokens ??= this.knownMaskTokens(input.masked);
    const maskedFeatures = model.decode(
      { masked: twice(input.masked, decoded), conditioning: conditioning.narrow(1, 0, decoded) },
      rowsOf(state, decoded),
      this.maskTokens.at(input.masked, wantsUncond),
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
    this.maskTokens?.dispose();
    this.conditioning.dispose();
  }
}

/** Mask tokens of the first step, from which later steps take theirs: what is masked later was masked before. */
class KnownMaskTokens {
  private readonly known: MaskTokens; // [U, M, …]
  /** Place of each position among a row's masked ones: [B, L] int64. */
  private readonly places: Tensor;
  /** Where each row's tokens begin among the known ones, flat: [B or 2B, 1] int64. */
  private readonly starts: Tensor;

  /**
   * @param masked [B, M] int64, positions masked at the first step; with U < B, the same in all rows
   * @param conditioning [blocks, U, 1, 8D]
   * @param rowOf which of the U rows each row of the session takes, the conditional ones first: [B or 2B] int64
   */
  constructor(model: Enat, masked: Tensor, conditioning: Tensor, rowOf: Tensor) {
    const [batch, count] = masked.shape as [number, number];
    const numRows = conditioning.size(1);
    this.starts = scope(() => keep(rowOf.mul(count).unsqueeze(1)));
    this.places = scope(() => {
      const order = arange(0, count, 1, { device: masked.device }).expand([batch, -1]).contiguous();
      const none = masked.narrow(1, 0, 1).zerosLike().expand([-1, model.seqLen]).contiguous();
      return keep(none.scatter(1, masked, order));
    });
    this.known = scope(() => {
      const positions = numRows > batch ? cat([masked, masked]).narrow(0, 0, numRows) : masked.narrow(0, 0, numRows);
      const { embedded, queries, keysValues } = model.maskTokens(positions, conditioning);
      return { embedded: keep(embedded), queries: keep(queries), keysValues: keep(keysValues) };
    });
  }

  /** All tokens of the first known rows. */
  first(rows: number): MaskTokens {
    return mapTokens(this.known, (x) => x.narrow(0, 0, rows));
  }

  /**
   * @param masked [B, M'] int64, some of the first step's positions
   * @param both whether the unconditional rows are wanted too
   * @returns of B or 2B rows, in the caller's scope
   */
  at(masked: Tensor, both: boolean): MaskTokens {
    const own = this.places.gather(1, masked);
    const places = both ? cat([own, own]) : own;
    const index = places.add(this.starts.narrow(0, 0, places.size(0))).flatten();
    return mapTokens(this.known, (x) =>
      x
        .flatten(0, 1)
        .indexSelect(0, index)
        .view([places.size(0), masked.size(1), -1]),
    );
  }

  dispose(): void {
    for (const tensor of [this.places, this.starts, ...Object.values(this.known)]) tensor.dispose();
  }
}

function mapTokens({ embedded, queries, keysValues }: MaskTokens, change: (x: Tensor) => Tensor): MaskTokens {
  return { embedded: change(embedded), queries: change(queries), keysValues: change(keysValues) };
}

/** The first rows of a state. */
function rowsOf(state: EnatState | undefined, rows: number): EnatState | undefined {
  if (state === undefined) return undefined;
  return { positions: state.positions.narrow(0, 0, rows), features: state.features.narrow(0, 0, rows) };
}
