/**
 * LlamaGen's GPT (Sun et al., arXiv 2406.06525): a decoder-only transformer over VQ tokens, in the form of Llama
 * (RMSNorm before each branch, rotary positions, SwiGLU, no biases), behind one class token or a left-padded caption.
 * Next-patch prediction (arXiv 2412.15321) trains the same network on averages of tokens; see gpt-loss.ts.
 *
 * Checked against the released code by the parity suite (reference §3); names are those of its checkpoints. Differences:
 * - Conditions are embedded apart, and dropping them is the caller's: every draw is an argument.
 * - Grouped-query attention works in generation, where the original's cache has the wrong size.
 * - A store of keys and values is an argument (gpt-session.ts), not a part of the network.
 *
 * Shapes: B batch, S positions (T of the condition, then tokens), D width, H heads, K head width, V codes.
 *
 * Longer than most files: a model is one file, read from its inputs down to its layers.
 */

import {
  attendRows,
  cat,
  dropout,
  embedding,
  gatedRows,
  gelu,
  keep,
  linear,
  linearRows,
  noGrad,
  normRows,
  quantizeRows,
  type RowWeight,
  scaledDotProductAttention,
  scope,
  silu,
  type Tensor,
} from '@tessera/torch';
import { beside } from '../nn/device.ts';
import { type Initialisation, ONES, ZEROS } from '../nn/initialisation.ts';
import { Module, type ParameterBuilder } from '../nn/module.ts';
import type { AutoregressiveModel, RunBlock, SequenceCondition } from './family.ts';
import { classCondition } from './gpt-condition.ts';
import { type GptConfig, type GptSizes, gptSizes } from './gpt-config.ts';
import { checkPatchSide } from './gpt-patches.ts';
import { applyRope, type RopeTable, ropeTable2d } from './gpt-rope.ts';
import { GptSession } from './gpt-session.ts';

/** Told of intermediate results by name, for inspection. */
export type GptProbe = (name: string, value: Tensor) => void;

/** Keeps keys and values of earlier positions. */
export interface KeyValueStore {
  /**
   * Adds the newest positions' of one block and gives all that may be attended to.
   *
   * @param keys,values [B, Hkv, S, K]
   * @returns all that may be attended to
   */
  extend(block: number, keys: Tensor, values: Tensor): SeenPositions;
}

export interface SeenPositions {
  /** [B, Hkv, S', K]. */
  keys: Tensor;
  values: Tensor;
  /** [B, 1, S or 1, S'] bool, or of the queries' type to be added; undefined for all. */
  mask: Tensor | undefined;
  /** Instead of a mask, for one query a row: how many of the positions count, [B] int64. */
  lengths?: Tensor | undefined;
}

export interface GptInput {
  /** Embedded positions: [B, S, D]. */
  x: Tensor;
  /** Rotary table of these positions. */
  rope: RopeTable;
  /** Which position may attend to which: [B, 1, S, S] bool; default: causal. */
  mask?: Tensor | undefined;
  /** Applies the dropouts of the configuration, from libtorch's generator. */
  training?: boolean;
  /** Generation: positions before these, and where these go. Without gradients. */
  store?: KeyValueStore | undefined;
  /** Runs the blocks so that their activations are made again in the backward pass. */
  runBlock?: RunBlock | undefined;
  observe?: GptProbe | undefined;
}

export class Gpt extends Module implements AutoregressiveModel {
  readonly family = 'gpt';
  readonly generation = 'autoregressive';
  readonly config: GptConfig;
  readonly sizes: GptSizes;
  private readonly condition: ClassTable | CaptionProjection;
  private readonly tokenTable: Tensor; // [V, D]
  private readonly blocks: Block[];
  private readonly norm: RmsNorm;
  private readonly output: Projection;
  /** Rotary tables by patch side, made when first asked for. */
  private readonly ropes = new Map<number, RopeTable>();

  constructor(config: GptConfig, p: ParameterBuilder) {
    super(p);
    this.config = config;
    this.sizes = gptSizes(config);
    const { embedDim: D, codebookSize, depth, dropPath, caption } = config;
    this.condition =
      caption === undefined
        ? new ClassTable(p.child('cls_embedding'), this.sizes.classRows, D)
        : new CaptionProjection(p.child('cls_embedding'), caption, D);
    this.tokenTable = p.parameter('tok_embeddings.weight', [codebookSize, D], NORMAL);
    this.blocks = Array.from({ length: depth }, (_, i) => {
      const rate = depth === 1 ? 0 : (dropPath * i) / (depth - 1);
      return new Block(p.child('layers', i), i, config, this.sizes, rate);
    });
    this.norm = new RmsNorm(p.child('norm'), D, config.normEps);
    this.output = new Projection(p.child('output'), D, codebookSize, ZEROS);
  }

  get seqLen(): number {
    return this.sizes.seqLen;
  }
  /** The class of guidance and of dropped labels. Only with conditionDropout > 0. */
  get nullLabel(): number {
    return this.config.numClasses;
  }
  /** Whether there is a condition for "none", which guidance needs. */
  get hasNullCondition(): boolean {
    return this.config.conditionDropout > 0;
  }

  conditionOn(labels: Tensor, guided: boolean): SequenceCondition {
    return classCondition(this, beside(labels, this), guided);
  }

  startSession(options: { rows: number; maxTokens?: number | undefined }): GptSession {
    return new GptSession(this, options);
  }

  /** labels — [B] int64; returns [B, 1, D]. */
  embedClasses(labels: Tensor): Tensor {
    if (!(this.condition instanceof ClassTable)) throw new TypeError('embedClasses: this GPT is conditioned on text');
    return this.condition.forward(labels);
  }

  /** features — [B, T, captionDim], zeros left of the text; returns [B, T, D]. */
  embedCaptions(features: Tensor): Tensor {
    if (this.condition instanceof ClassTable) throw new TypeError('embedCaptions: this GPT is conditioned on classes');
    return this.condition.forward(features);
  }

  /** The features that stand for no caption: [T, captionDim]. */
  get nullCaption(): Tensor {
    if (this.condition instanceof ClassTable) throw new TypeError('nullCaption: this GPT is conditioned on classes');
    return this.condition.nullFeatures;
  }

  /** tokens — [B, n] int64; returns [B, n, D]. */
  embedTokens(tokens: Tensor): Tensor {
    return embedding(this.tokenTable, tokens);
  }

  /** Rotary table of the condition and of the grid of cells of a patch side; the model's. */
  rope(patchSide = 1): RopeTable {
    const { gridSize, ropeBase } = this.config;
    checkPatchSide(gridSize, patchSide);
    const known = this.ropes.get(patchSide);
    if (known !== undefined) return known;
    const { headDim, conditionTokens } = this.sizes;
    const { device } = this;
    const made = scope(() => {
      const { cos, sin } = ropeTable2d(gridSize / patchSide, headDim, ropeBase, conditionTokens);
      return { cos: keep(cos.to(device)), sin: keep(sin.to(device)) };
    });
    this.ropes.set(patchSide, made);
    return made;
  }

  /**
   * Generates from here on with weights of a byte each, a scale a row: a quarter of the memory to read, at the cost of
   * slightly other logits. The float weights stay, and training uses them alone.
   *
   * @param options release: frees the float weights too; the model then generates, and does nothing else
   */
  quantize(options: { release?: boolean } = {}): void {
    this.dropCompanions(); // recorded steps read the weights where they were
    for (const projection of this.projections()) {
      projection.quantize();
      if (options.release === true) projection.weight.dispose();
    }
  }

  /** Generates with the float weights again. */
  dropQuantized(): void {
    this.dropCompanions();
    for (const projection of this.projections()) projection.dropQuantized();
  }

  private projections(): Projection[] {
    return [...this.blocks.flatMap((block) => block.projections), this.output];
  }

  override dispose(): void {
    super.dispose();
    this.dropQuantized();
    for (const { cos, sin } of this.ropes.values()) {
      cos.dispose();
      sin.dispose();
    }
    this.ropes.clear();
  }

  /** Embedded positions to features after the last norm: [B, S, D]. */
  forward(input: GptInput): Tensor {
    const { training = false } = input;
    let x = training ? dropout(input.x, this.config.tokenDropout, true) : input.x;
    for (const block of this.blocks) {
      x = input.runBlock === undefined ? block.forward(x, input) : input.runBlock((h) => block.forward(h, input), x);
    }
    const features = this.norm.forward(x);
    input.observe?.('finalNorm', features);
    return features;
  }

  /** features — [B, S, D]; returns logits [B, S, V] float32. */
  head(features: Tensor, streamed = false): Tensor {
    return this.output.forward(features, streamed).to('float32');
  }
}

/** The block that a parameter belongs to, by its name; undefined for the tables, the last norm and the output. */
export function gptBlockOf(parameter: string): number | undefined {
  const index = /^layers\.(\d+)\./.exec(parameter)?.[1];
  return index === undefined ? undefined : Number(index);
}

/** Condition in front of tokens: [B, T, D] and [B, m, D] to [B, T + m, D]. */
export function prepend(condition: Tensor, tokens: Tensor | undefined): Tensor {
  return tokens === undefined ? condition : cat([condition, tokens], 1);
}

const NORMAL: Initialisation = { kind: 'normal', std: 0.02 };

/** A linear map without bias. */
class Projection {
  readonly weight: Tensor; // [out, in]
  /** The weights in a byte each, for generation. */
  private bytes: { weight: Tensor; scales: Tensor } | undefined;

  constructor(p: ParameterBuilder, inFeatures: number, outFeatures: number, initialisation = NORMAL) {
    this.weight = p.parameter('weight', [outFeatures, inFeatures], initialisation);
  }

  /** streamed: few rows and no gradient, so reading the weights is what costs. */
  forward(x: Tensor, streamed = false): Tensor {
    return streamed ? linearRows(x, this.rowWeight) : linear(x, this.weight);
  }

  /** summand + the map of x, streamed. */
  addTo(summand: Tensor, x: Tensor): Tensor {
    return linearRows(x, this.rowWeight, summand);
  }

  /** As generation reads it. */
  get rowWeight(): RowWeight {
    return this.bytes ?? this;
  }

  quantize(): void {
    this.dropQuantized();
    this.bytes = noGrad(() =>
      scope(() => {
        const { weight, scales } = quantizeRows(this.weight);
        return { weight: keep(weight), scales: keep(scales) };
      }),
    );
  }

  dropQuantized(): void {
    this.bytes?.weight.dispose();
    this.bytes?.scales.dispose();
    this.bytes = undefined;
  }
}

class RmsNorm {
  private readonly weight: Tensor; // [D]
  private readonly eps: number;

  constructor(p: ParameterBuilder, dim: number, eps: number) {
    this.weight = p.parameter('weight', [dim], ONES);
    this.eps = eps;
  }

  forward(x: Tensor): Tensor {
    return normRows(x, this.weight, this.eps);
  }
}

class ClassTable {
  private readonly table: Tensor; // [classRows, D]

  constructor(p: ParameterBuilder, rows: number, dim: number) {
    this.table = p.parameter('embedding_table.weight', [rows, dim], NORMAL);
  }

  forward(labels: Tensor): Tensor {
    return embedding(this.table, labels).unsqueeze(1);
  }
}

/** Text features to the model's width; the null caption is a fixed draw, saved and never trained. */
class CaptionProjection {
  readonly nullFeatures: Tensor; // [T, captionDim]
  private readonly fc1: Projection;
  private readonly fc2: Projection;

  constructor(p: ParameterBuilder, caption: { dim: number; numTokens: number }, dim: number) {
    this.nullFeatures = p.buffer('uncond_embedding', [caption.numTokens, caption.dim], {
      kind: 'normal',
      std: 1 / Math.sqrt(caption.dim),
    });
    this.fc1 = new Projection(p.child('cap_proj', 'fc1'), caption.dim, dim);
    this.fc2 = new Projection(p.child('cap_proj', 'fc2'), dim, dim);
  }

  forward(features: Tensor): Tensor {
    return this.fc2.forward(gelu(this.fc1.forward(features), { approximate: 'tanh' }));
  }
}

class Block {
  private readonly index: number;
  private readonly attention: Attention;
  private readonly feedForward: FeedForward;
  private readonly attentionNorm: RmsNorm;
  private readonly ffnNorm: RmsNorm;
  private readonly config: GptConfig;
  private readonly dropPathRate: number;

  constructor(p: ParameterBuilder, index: number, config: GptConfig, sizes: GptSizes, dropPathRate: number) {
    this.index = index;
    this.config = config;
    this.dropPathRate = dropPathRate;
    this.attention = new Attention(p.child('attention'), config, sizes);
    this.feedForward = new FeedForward(p.child('feed_forward'), config.embedDim, sizes.ffnHidden);
    this.attentionNorm = new RmsNorm(p.child('attention_norm'), config.embedDim, config.normEps);
    this.ffnNorm = new RmsNorm(p.child('ffn_norm'), config.embedDim, config.normEps);
  }

  forward(x: Tensor, input: GptInput): Tensor {
    if (input.store !== undefined) return this.generate(x, input);
    const { training = false, observe } = input;
    const { residualDropout, ffnDropout } = this.config;
    const attended = this.attention.forward(this.attentionNorm.forward(x), input, this.index);
    observe?.(`blocks.${this.index}.attention`, attended);
    const h = x.add(training ? this.drop(attended, residualDropout) : attended);
    const fed = this.feedForward.forward(this.ffnNorm.forward(h));
    observe?.(`blocks.${this.index}.feedForward`, fed);
    const out = h.add(training ? this.drop(fed, ffnDropout) : fed);
    observe?.(`blocks.${this.index}`, out);
    return out;
  }

  /** The same for the few rows of generation: each branch is added where its last product is made. */
  private generate(x: Tensor, input: GptInput): Tensor {
    const h = this.attention.addTo(x, this.attentionNorm.forward(x), input, this.index);
    return this.feedForward.addTo(h, this.ffnNorm.forward(h));
  }

  get projections(): Projection[] {
    return [...this.attention.projections, ...this.feedForward.projections];
  }

  /** A branch's dropout, or where the model drops paths, its drop path. */
  private drop(branch: Tensor, rate: number): Tensor {
    if (this.config.dropPath === 0) return dropout(branch, rate, true);
    const keep = 1 - this.dropPathRate;
    return this.dropPathRate === 0 ? branch : dropPath(branch, keptSamples(branch, keep), keep);
  }
}

/** Keeps whole samples or drops them: x — [B, S, D]; kept — [B], 0 or 1; keep — the share kept on average. */
export function dropPath(x: Tensor, kept: Tensor, keep: number): Tensor {
  return x.mul(kept.div(keep).unsqueeze(-1).unsqueeze(-1));
}

/** [B], each 1 with probability `keep`, else 0. */
function keptSamples(like: Tensor, keep: number): Tensor {
  return like.detach().select(2, 0).select(1, 0).emptyLike().bernoulli_(keep);
}

class Attention {
  private readonly wqkv: Projection; // rows q | k | v
  private readonly wo: Projection;
  private readonly sizes: GptSizes;
  private readonly numHeads: number;

  constructor(p: ParameterBuilder, config: GptConfig, sizes: GptSizes) {
    this.sizes = sizes;
    this.numHeads = config.numHeads;
    const rows = (config.numHeads + 2 * sizes.numKvHeads) * sizes.headDim;
    this.wqkv = new Projection(p.child('wqkv'), config.embedDim, rows);
    this.wo = new Projection(p.child('wo'), config.embedDim, config.embedDim);
  }

  get projections(): Projection[] {
    return [this.wqkv, this.wo];
  }

  forward(x: Tensor, input: GptInput, block: number): Tensor {
    return this.wo.forward(this.mix(x, input, block));
  }

  /** summand + forward(x), for generation. */
  addTo(summand: Tensor, x: Tensor, input: GptInput, block: number): Tensor {
    return this.wo.addTo(summand, this.mix(x, input, block));
  }

  /** [B, S, D], before the last product. */
  private mix(x: Tensor, input: GptInput, block: number): Tensor {
    const { rope, store, mask } = input;
    const { numKvHeads, headDim } = this.sizes;
    const { numHeads } = this;
    const heads = this.wqkv.forward(x, store !== undefined).unflatten(-1, [numHeads + 2 * numKvHeads, headDim]); // [B, S, H + 2 Hkv, K]
    const turned = applyRope(heads.narrow(2, 0, numHeads + numKvHeads), rope);
    const q = turned.narrow(2, 0, numHeads).transpose(1, 2); // [B, H, S, K]
    const k = turned.narrow(2, numHeads, numKvHeads).transpose(1, 2); // [B, Hkv, S, K]
    const v = heads.narrow(2, numHeads + numKvHeads, numKvHeads).transpose(1, 2);
    return this.attend(q, store?.extend(block, k, v) ?? { keys: k, values: v, mask });
  }

  /** q — [B, H, S, K]. Without a mask, S = 1 sees all and S = S' is causal. */
  private attend(q: Tensor, { keys, values, mask, lengths }: SeenPositions): Tensor {
    const { numKvHeads, headDim } = this.sizes;
    const groups = this.numHeads / numKvHeads;
    const [batch, , queries] = q.shape as [number, number, number, number];
    if (queries === 1) {
      // The heads of a group ask the same keys: they are rows of one query, and nothing is repeated.
      const grouped = q.reshape([batch, numKvHeads, groups, headDim]);
      const attended =
        mask === undefined
          ? attendRows(grouped, keys, values, lengths)
          : scaledDotProductAttention(grouped, keys, values, { attnMask: mask });
      return attended.reshape([batch, 1, this.numHeads * headDim]);
    }
    const spread = (x: Tensor): Tensor => (groups === 1 ? x : x.repeatInterleave(groups, 1));
    const options = mask === undefined ? { isCausal: true } : { attnMask: mask };
    const attended = scaledDotProductAttention(q, spread(keys), spread(values), options);
    return attended.transpose(1, 2).flatten(2);
  }
}

/** SwiGLU (Shazeer 2020): w2(silu(w1 x) · w3 x). */
class FeedForward {
  private readonly w1: Projection;
  private readonly w3: Projection;
  private readonly w2: Projection;

  constructor(p: ParameterBuilder, dim: number, hidden: number) {
    this.w1 = new Projection(p.child('w1'), dim, hidden);
    this.w3 = new Projection(p.child('w3'), dim, hidden);
    this.w2 = new Projection(p.child('w2'), hidden, dim);
  }

  get projections(): Projection[] {
    return [this.w1, this.w3, this.w2];
  }

  forward(x: Tensor): Tensor {
    return this.w2.forward(silu(this.w1.forward(x)).mul(this.w3.forward(x)));
  }

  /** summand + forward(x), for generation. */
  addTo(summand: Tensor, x: Tensor): Tensor {
    return this.w2.addTo(summand, gatedRows(x, this.w1.rowWeight, this.w3.rowWeight));
  }
}
