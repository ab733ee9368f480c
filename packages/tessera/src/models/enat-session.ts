/**
 * ENAT over the steps of one generation: the conditional and the unconditional branch as one batch, with the features
 * of visible tokens carried from step to step. A branch is run only where its result, or the state it leaves, is used; while
 * nothing is visible, images of a class have the same logits, so that a row a class is run. What the decoder's first block
 * makes of mask tokens by themselves is made at the first step, for all of them.
 */

import { arange, cat, keep, noGrad, scope, type Tensor, tensor } from '@tessera/torch';
import type { Enat, EnatState, MaskTokens } from './enat.ts';
import type { MaskedSession, SessionPrediction, SessionTokens } from './family.ts';
import { distinctLabels, type Openings } from './openings.ts';

export interface EnatPrediction extends SessionPrediction {
  /** Of the masked tokens: [B, M, D], or [2B, M, D] where both branches ran, the conditional first; undefined for kept openings. */
  maskedFeatures: Tensor | undefined;
}

export class EnatSession implements MaskedSession {
  private readonly model: Enat;
  private readonly batch: number;
  private readonly conditioning: Tensor; // [blocks, B or 2B, 1, 8D]
  private readonly labels: number[] | undefined;
  private readonly openings: Openings | undefined;
  private readonly guided: boolean;
  private state: EnatState | undefined; // of B or 2B rows
  private maskTokens: KnownMaskTokens | undefined;

  /**
   * @param labels [B] int64
   * @param guided whether any step will ask for the unconditional branch
   * @param openings of this model's weights, where a class's first step is kept
   */
  constructor(model: Enat, labels: Tensor, guided: boolean, openings?: Openings) {
    this.model = model;
    this.openings = openings;
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

  /** One row a class, and one for the null label; those that are kept do not run. */
  private runFirst({ masked }: SessionTokens, labels: readonly number[], wantsUncond: boolean): EnatPrediction {
    const { model, batch, guided, openings } = this;
    const { classes, places } = distinctLabels(guided ? [...labels, model.nullLabel] : labels);
    const ofNull = places[batch]!;
    const rowOf = guided ? [...places.slice(0, batch), ...labels.map(() => ofNull)] : places;
    const firsts = classes.map((_, row) => places.indexOf(row));
    const conditioning = this.conditioning.indexSelect(1, tensor(firsts, 'int64'));
    const maskTokens = new KnownMaskTokens(model, masked, conditioning, tensor(rowOf, 'int64'));
    this.maskTokens = maskTokens;
    const run = (row: number, count: number): Tensor => {
      const positions = masked.narrow(0, 0, 1).expand([count, -1]).contiguous();
      const input = { masked: positions, conditioning: conditioning.narrow(1, row, count) };
      return model.decode(input, undefined, maskTokens.ofRows(row, count));
    };
    const wanted = wantsUncond ? classes : classes.slice(0, new Set(labels).size); // the null label comes last
    const features = openings === undefined ? run(0, wanted.length) : undefined;
    const logits =
      features === undefined
        ? openings!.logitsOf(wanted, (label) => model.head(run(classes.indexOf(label), 1)))
        : model.head(features);
    const ofImages = tensor(wantsUncond ? rowOf : places.slice(0, batch), 'int64');
    return {
      cond: logits.indexSelect(0, ofImages.narrow(0, 0, batch)),
      uncond: wantsUncond ? logits.narrow(0, ofNull, 1).expand([batch, -1, -1]) : undefined,
      maskedFeatures: features?.indexSelect(0, ofImages),
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
    const every = (): Tensor => arange(0, this.guided ? 2 * batch : batch, 1, { device: conditioning.device });
    this.maskTokens ??= new KnownMaskTokens(model, input.masked, conditioning, every());
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

  /** All tokens of some known rows. */
  ofRows(row: number, count: number): MaskTokens {
    return mapTokens(this.known, (x) => x.narrow(0, row, count));
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
