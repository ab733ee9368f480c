/**
 * A GPT over one generation: the keys and values of every position seen so far, in memory made once. A step runs one new
 * position of every row; attention reads the filled part of the store only, and nothing that it holds is computed again.
 * Rows may stand at different positions, so a row whose image is finished can begin another while the rest go on.
 *
 * Memory: 2 · blocks · rows · Hkv · (T + n − 1) · K numbers of the weights' type; the last token is never fed back.
 */

import { arange, cat, keep, noGrad, scope, type Tensor, tensor, zeros } from '@tessera/torch';
import { beside } from '../nn/device.ts';
import type { AutoregressiveSession, SequenceCondition } from './family.ts';
import type { Gpt, GptInput, KeyValueStore, SeenPositions } from './gpt.ts';
import { type RopeTable, ropeRows } from './gpt-rope.ts';

export interface GptSessionOptions {
  /** R, sequences side by side. */
  rows: number;
  /** Tokens of an image; default: the model's whole grid. */
  maxTokens?: number | undefined;
}

const PARKED = -1;
/**
 * Positions by which the reach of a step on a GPU grows: cuDNN plans each new number of keys for tens of milliseconds, and
 * a recorded step is one for a number.
 */
const REACH = 64;

export class GptSession implements AutoregressiveSession {
  readonly rows: number;
  /** Positions of a row's store. */
  readonly capacity: number;
  private readonly model: Gpt;
  private readonly store: Store;

  constructor(model: Gpt, { rows, maxTokens = model.seqLen }: GptSessionOptions) {
    if (!Number.isInteger(maxTokens) || maxTokens < 1 || maxTokens > model.seqLen) {
      throw new RangeError(`GptSession: expected 1 to ${model.seqLen} tokens an image, got ${maxTokens}`);
    }
    const { conditionTokens, headDim, numKvHeads } = model.sizes;
    const { depth } = model.config;
    this.model = model;
    this.rows = rows;
    this.capacity = conditionTokens + maxTokens - 1;
    const like = model.state.get('tok_embeddings.weight')!;
    this.store = new Store(depth, [rows, numKvHeads, this.capacity, headDim], like);
  }

  /** Bytes of keys and values. */
  get cacheBytes(): number {
    return this.store.bytes;
  }

  /** Position that a row's next token goes to; -1 for a parked row. */
  position(row: number): number {
    return this.store.lengths[row]!;
  }

  reach(longest: number): number {
    return Math.min(this.capacity, Math.ceil(longest / REACH) * REACH);
  }

  /**
   * Begins rows anew with their conditions.
   *
   * @param rows which, ascending
   * @returns logits of the first token, [r, V], in the caller's scope
   */
  begin(rows: readonly number[], { embedded, visible }: SequenceCondition): Tensor {
    const length = embedded.size(1);
    if (length !== this.model.sizes.conditionTokens) {
      throw new RangeError(
        `GptSession: expected ${this.model.sizes.conditionTokens} condition positions, got ${length}`,
      );
    }
    return noGrad(() => {
      this.store.begin(rows, visible);
      const rope = ropeRows(this.model.rope(), 0, length);
      return this.run({ x: embedded, rope, store: this.store }, rows);
    });
  }

  /**
   * One more position of the first `count` rows (default: of all).
   *
   * @param tokens [count] int64, the last token of each
   * @returns logits of the next token, [count, V], in the caller's scope
   */
  step(tokens: Tensor, count = this.rows): Tensor {
    const rows = Array.from({ length: count }, (_, row) => row);
    const positions = rows.map((row) => Math.max(0, this.position(row)));
    const full = positions.findIndex((position) => position >= this.capacity);
    if (full >= 0) throw new RangeError(`GptSession: row ${full} is complete; begin it anew before another step`);
    return noGrad(() => {
      const x = this.model.embedTokens(tokens).unsqueeze(1); // [count, 1, D]
      if (this.store.isOnGpu) {
        // As a recorded step: the same kernels, and the same bits.
        const at = beside(tensor(positions, 'int64'), x);
        this.store.nextAt(at, this.reach(Math.max(...positions) + 1));
        return this.run({ x, rope: ropeAt(this.model.rope(), at), store: this.store }, rows);
      }
      this.store.next(positions);
      return this.run({ x, rope: this.ropeAt(positions), store: this.store }, rows);
    });
  }

  stepAt(tokens: Tensor, positions: Tensor, longest: number): Tensor {
    return noGrad(() => {
      this.store.nextAt(positions, longest);
      const x = this.model.embedTokens(tokens).unsqueeze(1); // [count, 1, D]
      const features = this.model.forward({ x, rope: ropeAt(this.model.rope(), positions), store: this.store });
      return this.model.head(features.select(1, 0), true);
    });
  }

  advance(count: number): void {
    for (let row = 0; row < count; row++) if (this.position(row) !== PARKED) this.store.lengths[row]! += 1;
  }

  /** A row that draws nothing: it runs along, and what comes out means nothing until it is begun anew. */
  park(row: number): void {
    this.store.lengths[row] = PARKED;
  }

  dispose(): void {
    this.store.dispose();
  }

  private run(input: GptInput, rows: readonly number[]): Tensor {
    const features = this.model.forward(input);
    const length = input.x.size(1);
    for (const row of rows) if (this.position(row) !== PARKED) this.store.lengths[row]! += length;
    return this.model.head(features.select(1, length - 1), true);
  }

  /** Rows of the rotary table: one for all where all stand at the same position, else one each. */
  private ropeAt(positions: readonly number[]): RopeTable {
    const table = this.model.rope();
    const first = positions[0]!;
    if (positions.every((position) => position === first)) return ropeRows(table, first, 1);
    return ropeAt(table, beside(tensor([...positions], 'int64'), table.cos));
  }
}

/** Rows of a rotary table by position: positions — [R] int64; returns [R, 1, 1, K]. */
function ropeAt({ cos, sin }: RopeTable, positions: Tensor): RopeTable {
  const pick = (part: Tensor): Tensor => part.indexSelect(0, positions).unsqueeze(1).unsqueeze(1);
  return { cos: pick(cos), sin: pick(sin) };
}

/**
 * Causal, hidden condition positions left out, the diagonal kept (a query must see something).
 *
 * @param visible [B, T] bool
 * @param length S ≥ T; positions after the condition are visible
 * @returns [B, 1, S, S] bool
 */
export function conditionMask(visible: Tensor, length = visible.size(1)): Tensor {
  const positions = arange(0, length, 1, { device: visible.device });
  const [queries, keys] = [positions.unsqueeze(1), positions.unsqueeze(0)];
  const columns = withVisibleTokens(visible, length).unsqueeze(1); // [B, 1, S]
  return keys.le(queries).logicalAnd(columns).logicalOr(keys.eq(queries)).unsqueeze(1);
}

/** [B, T] bool to [B, length]: tokens after the condition are visible. */
function withVisibleTokens(visible: Tensor, length: number): Tensor {
  const rest = length - visible.size(1);
  if (rest === 0) return visible;
  return cat([visible, visible.narrow(1, 0, 1).onesLike().expand([-1, rest])], 1);
}

/** Where the positions under way go. */
type Writing =
  | { kind: 'begin'; rows: Tensor | undefined; mask: Tensor | undefined }
  | { kind: 'together'; count: number; position: number; mask: Tensor | undefined }
  | {
      kind: 'apart';
      count: number;
      longest: number;
      rows: Tensor;
      positions: Tensor;
      mask: Tensor | undefined;
      lengths: Tensor | undefined;
    };

/** Keys and values of all blocks, and how far each row has come. */
class Store implements KeyValueStore {
  /** Filled positions of each row. */
  readonly lengths: number[];
  private readonly keys: Tensor[]; // a block: [R, Hkv, capacity, K]
  private readonly values: Tensor[];
  /** Condition positions that may be attended to, [R, T] bool; undefined: all. */
  private visible: Tensor | undefined;
  private writing: Writing | undefined;

  constructor(blocks: number, shape: readonly number[], like: Tensor) {
    // Zeros: a masked position still takes part in products, where what memory held before could be no number.
    const make = (): Tensor => scope(() => keep(zeros(shape, { dtype: like.dtype, device: like.device })));
    this.keys = Array.from({ length: blocks }, make);
    this.values = Array.from({ length: blocks }, make);
    this.lengths = new Array<number>(shape[0]!).fill(0);
  }

  get isOnGpu(): boolean {
    return this.keys[0]!.device.startsWith('cuda');
  }

  get bytes(): number {
    const width = this.keys[0]!.dtype === 'float32' ? 4 : 2;
    return 2 * this.keys.length * this.keys[0]!.numel * width;
  }

  begin(rows: readonly number[], visible: Tensor | undefined): void {
    const all = rows.length === this.lengths.length;
    const index = all ? undefined : beside(tensor([...rows], 'int64'), this.keys[0]!);
    for (const row of rows) this.lengths[row] = 0;
    if (visible !== undefined) {
      this.visible ??= scope(() =>
        keep(visible.narrow(0, 0, 1).onesLike().expand([this.lengths.length, -1]).contiguous()),
      );
      if (index === undefined) this.visible.copy_(visible);
      else this.visible.indexCopy_(0, index, visible);
    }
    this.writing = {
      kind: 'begin',
      rows: index,
      mask: visible === undefined ? undefined : conditionMask(visible),
    };
  }

  /** The next positions of the first rows. */
  next(positions: readonly number[]): void {
    const count = positions.length;
    const longest = Math.max(...positions) + 1;
    if (positions.every((position) => position === longest - 1)) {
      this.writing = { kind: 'together', count, position: longest - 1, mask: this.seen(count, longest) };
      return;
    }
    this.nextAt(beside(tensor([...positions], 'int64'), this.keys[0]!), longest);
  }

  /** The same where the rows stand at different positions, [count] int64: all below `longest`. */
  nextAt(positions: Tensor, longest: number): void {
    const count = positions.size(0);
    this.writing = {
      kind: 'apart',
      count,
      longest,
      rows: arange(0, count, 1, { device: positions.device }),
      positions,
      ...this.attending(positions.add(1), longest),
    };
  }

  /** What rows of these lengths attend to. On a GPU a mask to add, made once for all blocks in their type. */
  private attending(lengths: Tensor, longest: number): Pick<Writing & { kind: 'apart' }, 'mask' | 'lengths'> {
    const seen = this.seen(lengths.size(0), longest);
    if (seen === undefined && !this.isOnGpu) return { lengths, mask: undefined };
    const filled = filledMask(lengths, longest);
    const mask = seen === undefined ? filled : seen.logicalAnd(filled);
    return { lengths: undefined, mask: this.isOnGpu ? addedMask(mask, this.keys[0]!) : mask };
  }

  /** [count, 1, 1, longest] bool: condition positions that may be attended to, and all tokens; undefined: everything. */
  private seen(count: number, longest: number): Tensor | undefined {
    if (this.visible === undefined) return undefined;
    return withVisibleTokens(this.visible.narrow(0, 0, count), longest)
      .unsqueeze(1)
      .unsqueeze(1);
  }

  extend(block: number, keys: Tensor, values: Tensor): SeenPositions {
    const writing = this.writing!;
    const seen = [this.write(this.keys[block]!, keys, writing), this.write(this.values[block]!, values, writing)];
    const lengths = writing.kind === 'apart' ? writing.lengths : undefined;
    return { keys: seen[0]!, values: seen[1]!, mask: writing.mask, lengths };
  }

  dispose(): void {
    for (const one of [...this.keys, ...this.values]) one.dispose();
    this.visible?.dispose();
  }

  /** Puts the newest positions into the store; returns all that their rows may attend to. */
  private write(store: Tensor, fresh: Tensor, writing: Writing): Tensor {
    switch (writing.kind) {
      case 'begin': {
        const part = store.narrow(2, 0, fresh.size(2));
        if (writing.rows === undefined) part.copy_(fresh);
        else part.indexCopy_(0, writing.rows, fresh);
        return fresh;
      }
      case 'together': {
        const rows = store.narrow(0, 0, writing.count);
        rows.narrow(2, writing.position, 1).copy_(fresh);
        return rows.narrow(2, 0, writing.position + 1);
      }
      case 'apart':
        store.indexPut_([writing.rows, undefined, writing.positions], fresh.squeeze(2));
        return store.narrow(0, 0, writing.count).narrow(2, 0, writing.longest);
      default:
        return writing satisfies never;
    }
  }
}

/** lengths — [R] int64; returns [R, 1, 1, longest] bool. */
function filledMask(lengths: Tensor, longest: number): Tensor {
  const positions = arange(0, longest, 1, { device: lengths.device });
  return positions.unsqueeze(0).lt(lengths.unsqueeze(1)).unsqueeze(1).unsqueeze(1);
}

/** Instead of a mask of bool what attention would make of it each time: 0, or -infinity where it is false. */
function addedMask(mask: Tensor, { dtype, device }: Tensor): Tensor {
  return zeros(mask.shape, { dtype, device }).maskedFill(mask.logicalNot(), Number.NEGATIVE_INFINITY);
}
