/**
 * ENAT (Ni et al., NeurIPS 2024): a masked transformer that treats the two kinds of tokens apart. Encoder blocks see
 * visible tokens only; decoder blocks see mask tokens, which attend to the encoder's output and to themselves. Between
 * steps the visible tokens' features are reused: only tokens revealed since the last step run through the encoder
 * (the paper's "critical" tokens), attending to the projected features of the older ones.
 *
 * Checked against the released implementation's behaviour (LeapLabTHU/ENAT) by the parity suite. Differences:
 * - Sub-sequences are given as positions; nothing is put back into [B, L, D] that the result does not need. The reused
 *   state is the visible features with their positions; attention does not depend on the order of its keys.
 * - Class conditioning (adaLN) depends on the label alone, so it is computed once by `condition`, not at each step.
 * - Dropout is an argument, not a mode.
 *
 * Shapes: B batch, L tokens, D width, V codes, R/F/M reused, fresh and masked tokens of a sample (equal across B).
 *
 * Longer than most files: a model is one file, read from its inputs down to its layers.
 */

import { strictConfig } from '@tessera/schedule';
import {
  attendTokens,
  cat,
  dropout,
  embedding,
  gateRows,
  linearRows,
  modulateRows,
  scope,
  silu,
  type Tensor,
} from '@tessera/torch';
import { z } from 'zod';
import { addOver, geluOver } from '../nn/in-place.ts';
import { ZEROS } from '../nn/initialisation.ts';
import { Embedding, LayerNorm, Linear } from '../nn/layers.ts';
import { Module, type ParameterBuilder } from '../nn/module.ts';
import { EnatSession } from './enat-session.ts';
import { type MaskedModel, type RunBlock, runAtOnce } from './family.ts';
import { TiedHead } from './tied-head.ts';

export const enatConfigSchema = strictConfig({
  /** Side of the token grid; L = gridSize². */
  gridSize: z.int().min(1).max(256),
  /** V; the mask token is V. */
  codebookSize: z
    .int()
    .min(2)
    .max(1 << 20),
  /** Classes without the null label, which is `numClasses`. */
  numClasses: z
    .int()
    .min(1)
    .max(1 << 20),
  /** D. */
  embedDim: z.int().min(1).max(16384),
  encoderDepth: z.int().min(1).max(256),
  decoderDepth: z.int().min(1).max(256),
  numHeads: z.int().min(1).max(256),
  mlpRatio: z.number().positive().max(16).default(4),
  /** Dropout on token embeddings while training. */
  tokenDropout: z.number().min(0).max(0.9).default(0.1),
}).refine((config) => config.embedDim % config.numHeads === 0, {
  message: 'expected embedDim to be a multiple of numHeads',
});

export type EnatConfig = z.infer<typeof enatConfigSchema>;

/** Visible tokens' features after a step, with where they are: what the next step reuses. */
export interface EnatState {
  /** [B, N] int64. */
  positions: Tensor;
  /** [B, N, D]. */
  features: Tensor;
}

/** What the decoder's first block makes of mask tokens by themselves: the same at every step of a generation. */
export interface MaskTokens {
  /** [B, M, D]. */
  embedded: Tensor;
  /** [B, M, D]. */
  queries: Tensor;
  /** [B, M, 2D]. */
  keysValues: Tensor;
}

/** One forward pass. Together `reused`, `fresh` and `masked` name every position once. */
export interface EnatInput {
  /** [B, L] int64; at masked positions the value is not read. */
  tokens: Tensor;
  /** Positions of visible tokens to encode: [B, F] int64, or undefined for none. */
  fresh?: Tensor | undefined;
  /** Positions of mask tokens: [B, M] int64. */
  masked: Tensor;
  /** Features of visible tokens from the step before. */
  reused?: EnatState | undefined;
  /** From `condition`. */
  conditioning: Tensor;
  /** Token dropout: a probability, or a recorded keep mask [B, L, D] with the probability that scales it. */
  dropout?: { probability: number; keep?: Tensor };
  runBlock?: RunBlock | undefined;
}

export interface EnatOutput {
  /** Features of the mask tokens, before the head: [B, M, D]. */
  masked: Tensor;
  /** Undefined when no token is visible. */
  state: EnatState | undefined;
}

const BLOCK_EPS = 1e-6;

export class Enat extends Module implements MaskedModel {
  readonly family = 'enat';
  readonly generation = 'masked';
  /** Its sub-sequences are rectangular. */
  readonly takesRaggedMasks = false;
  readonly config: EnatConfig;
  private readonly tokenEmbedding: TokenEmbedding;
  private readonly labelEmbedding: Embedding;
  private readonly reuse: ReuseProjection;
  private readonly blocks: Block[];
  private readonly norm: LayerNorm;
  private readonly mlm: TiedHead;

  constructor(config: EnatConfig, p: ParameterBuilder) {
    super(p);
    this.config = config;
    const { embedDim: D, codebookSize, numClasses, gridSize, mlpRatio } = config;
    this.tokenEmbedding = new TokenEmbedding(p.child('x_embedder'), codebookSize + 1, gridSize * gridSize, D);
    this.labelEmbedding = new Embedding(p.child('y_embedder'), numClasses + 1, D, 0.02, 'embedding_table.weight');
    // Never used, but part of every official file (strict loading).
    new Mlp(p.child('prev_embedder'), D, 4 * D);
    this.reuse = new ReuseProjection(p.child('prev_proj'), D);
    this.blocks = Array.from(
      { length: config.encoderDepth + config.decoderDepth },
      (_, i) => new Block(p.child('blocks', i), D, config.numHeads, Math.round(D * mlpRatio)),
    );
    this.norm = new LayerNorm(p.child('norm'), D, 1e-5);
    this.mlm = new TiedHead(p.child('mlm_layer'), D, codebookSize);
  }

  get seqLen(): number {
    return this.config.gridSize ** 2;
  }
  get maskToken(): number {
    return this.config.codebookSize;
  }
  get nullLabel(): number {
    return this.config.numClasses;
  }

  /** The blocks alone: the conditioning and the head stay float32. */
  useInt8(): boolean {
    return this.quantizeLayers(/^blocks\.\d+\.(attn|mlp)\.|^prev_proj\.mlp\./);
  }

  startSession(labels: Tensor, guided: boolean): EnatSession {
    return new EnatSession(this, labels, guided);
  }

  /** Modulations of all blocks for these labels: labels — [B] int64; returns [blocks, B, 1, 8D]. */
  condition(labels: Tensor): Tensor {
    const c = silu(this.labelEmbedding.forward(labels)); // [B, D]
    return stackModulations(this.blocks, c);
  }

  /** The encoder alone: the state that a step leaves behind, undefined when no token is visible. */
  encode(input: Omit<EnatInput, 'masked'>): EnatState | undefined {
    const { tokens, fresh, reused, conditioning } = input;
    const old = reused === undefined ? undefined : this.reuse.forward(reused.features.detach()); // [B, R, D]
    if (fresh === undefined) return old === undefined ? undefined : { positions: reused!.positions, features: old };
    let x = this.embed(tokens.gather(1, fresh), fresh, input.dropout); // [B, F, D]
    for (let i = 0; i < this.config.encoderDepth; i++) x = this.pass(i, x, conditioning, old, input.runBlock);
    if (old === undefined) return { positions: fresh, features: x };
    const runBlock = input.runBlock ?? runAtOnce;
    const features = runBlock((a, b) => cat([a, b!], 1), old, x); // [B, R + F, D]
    return { positions: cat([reused!.positions, fresh], 1), features };
  }

  forward(input: EnatInput): EnatOutput {
    const state = this.encode(input);
    return { masked: this.decode(input, state), state };
  }

  /** masked — [B, M] int64; conditioning — from `condition`. */
  maskTokens(masked: Tensor, conditioning: Tensor): MaskTokens {
    const { encoderDepth } = this.config;
    const embedded = this.embed(masked.fullLike(this.maskToken), masked, undefined);
    return { embedded, ...this.blocks[encoderDepth]!.project(embedded, conditioning.select(0, encoderDepth)) };
  }

  /**
   * The decoder alone, on what `encode` left: features of the mask tokens, [B, M, D].
   *
   * @param known `maskTokens` of these positions, where they are at hand
   */
  decode(
    input: Omit<EnatInput, 'tokens' | 'fresh' | 'reused'>,
    state: EnatState | undefined,
    known?: MaskTokens,
  ): Tensor {
    const { masked, conditioning } = input;
    const { encoderDepth } = this.config;
    const visible = state?.features;
    let y = known?.embedded ?? this.embed(masked.fullLike(this.maskToken), masked, input.dropout); // [B, M, D]
    for (let i = encoderDepth; i < this.blocks.length; i++) {
      y =
        known !== undefined && i === encoderDepth
          ? scope(() => this.blocks[i]!.forward(y, conditioning.select(0, i), visible, known))
          : this.pass(i, y, conditioning, visible, input.runBlock);
    }
    return y;
  }

  private pass(
    index: number,
    x: Tensor,
    conditioning: Tensor,
    foreign: Tensor | undefined,
    runBlock: RunBlock = runAtOnce,
  ): Tensor {
    const block = this.blocks[index]!;
    const forward = (h: Tensor, c?: Tensor, f?: Tensor) => block.forward(h, c!.select(0, index), f);
    return foreign === undefined ? runBlock(forward, x, conditioning) : runBlock(forward, x, conditioning, foreign);
  }

  private embed(ids: Tensor, positions: Tensor, dropout: EnatInput['dropout']): Tensor {
    const x = this.tokenEmbedding.forward(ids, positions);
    return dropout === undefined ? x : dropTokens(x, positions, dropout);
  }

  /** features — [B, N, D] of any positions; returns logits [B, N, V], the mask token cut off. */
  head(features: Tensor): Tensor {
    return this.mlm.forward(this.norm.forward(features), this.tokenEmbedding.words);
  }

  /** The embedding of every token as the network sees it, for inspection: tokens — [B, L]; returns [B, L, D]. */
  embedTokens(tokens: Tensor, positions: Tensor): Tensor {
    return this.tokenEmbedding.forward(tokens, positions);
  }

  /** The embedding of class labels: [B] int64 to [B, D]. */
  embedLabels(labels: Tensor): Tensor {
    return this.labelEmbedding.forward(labels);
  }

  /** Reused features as the blocks see them: [B, R, D] to [B, R, D]. */
  projectReused(features: Tensor): Tensor {
    return this.reuse.forward(features);
  }

  /** One block by number, encoder first, on given tokens: for inspection. */
  runBlock(index: number, x: Tensor, conditioning: Tensor, foreign?: Tensor): Tensor {
    return this.blocks[index]!.forward(x, conditioning.select(0, index), foreign);
  }
}

/** LN(word[id] + position[p]). */
class TokenEmbedding {
  readonly words: Tensor; // [V + 1, D]
  private readonly positions: Tensor; // [L, D]
  private readonly norm: LayerNorm;

  constructor(p: ParameterBuilder, numTokens: number, seqLen: number, dim: number) {
    this.words = p.parameter('word_embeddings.weight', [numTokens, dim], { kind: 'normal', std: 0.02 });
    this.positions = p.parameter('position_embeddings.weight', [seqLen, dim], { kind: 'normal', std: 0.02 });
    this.norm = new LayerNorm(p.child('LayerNorm'), dim, 1e-6);
  }

  /** ids, positions — [B, N] int64; returns [B, N, D]. */
  forward(ids: Tensor, positions: Tensor): Tensor {
    return this.norm.forward(embedding(this.words, ids).add(embedding(this.positions, positions)));
  }
}

/** D → hidden → D with the tanh form of GELU. */
class Mlp {
  private readonly fc1: Linear;
  private readonly fc2: Linear;

  constructor(p: ParameterBuilder, dim: number, hidden: number) {
    this.fc1 = new Linear(p.child('fc1'), dim, hidden);
    this.fc2 = new Linear(p.child('fc2'), hidden, dim);
  }

  forward(x: Tensor): Tensor {
    return this.fc2.forward(geluOver(this.fc1.forward(x), 'tanh'));
  }
}

/** What turns the last step's features into this step's: y + MLP(LN(y)). */
class ReuseProjection {
  private readonly norm: LayerNorm;
  private readonly mlp: Mlp;

  constructor(p: ParameterBuilder, dim: number) {
    this.norm = new LayerNorm(p.child('norm'), dim, 1e-6);
    this.mlp = new Mlp(p.child('mlp'), dim, 4 * dim);
  }

  forward(y: Tensor): Tensor {
    return addOver(this.mlp.forward(this.norm.forward(y)), y);
  }
}

/**
 * A DiT-style block with self-cross attention: one softmax over the keys of foreign tokens (projection A) and of the
 * block's own (projection B). The order of the modulations is the official checkpoints'.
 */
class Block {
  readonly modulation: Linear;
  private readonly q: Linear;
  private readonly kvForeign: Linear;
  private readonly kvOwn: Linear;
  private readonly proj: Linear;
  private readonly mlp: Mlp;
  private readonly numHeads: number;

  constructor(p: ParameterBuilder, dim: number, numHeads: number, hidden: number) {
    this.numHeads = numHeads;
    this.q = new Linear(p.child('attn.q'), dim, dim);
    this.kvForeign = new Linear(p.child('attn.kv.A'), dim, 2 * dim);
    this.kvOwn = new Linear(p.child('attn.kv.B'), dim, 2 * dim);
    this.proj = new Linear(p.child('attn.proj'), dim, dim);
    this.mlp = new Mlp(p.child('mlp'), dim, hidden);
    // Zero: every gate starts closed and the block as the identity (Peebles and Xie 2023, adaLN-Zero).
    this.modulation = new Linear(p.child('adaLN_modulation.1'), dim, 8 * dim, { weightInit: ZEROS });
  }

  /** What own tokens [B, N, D] ask and offer: queries [B, N, D], keys and values [B, N, 2D]. */
  project(x: Tensor, modulation: Tensor): Omit<MaskTokens, 'embedded'> {
    const [shift, scale] = modulation.chunk(8, -1) as [Tensor, Tensor];
    const own = modulateRows(x, shift, scale, BLOCK_EPS);
    return { queries: this.q.forward(own), keysValues: this.kvOwn.forward(own) };
  }

  /**
   * @param x [B, N, D], own tokens
   * @param modulation [B, 1, 8D]
   * @param foreign [B, K, D] or undefined
   * @param own what `project` gives for x and the modulation
   * @returns [B, N, D]
   */
  forward(x: Tensor, modulation: Tensor, foreign: Tensor | undefined, own = this.project(x, modulation)): Tensor {
    const parts = modulation.chunk(8, -1);
    const [shiftF, scaleF, gateA, shiftM, scaleM, gateM] = parts.slice(2) as [
      Tensor,
      Tensor,
      Tensor,
      Tensor,
      Tensor,
      Tensor,
    ];
    const keysValues =
      foreign === undefined
        ? own.keysValues
        : cat([this.kvForeign.forward(modulateRows(foreign, shiftF, scaleF, BLOCK_EPS)), own.keysValues], 1); // [B, K + N, 2D]
    const [k, v] = keysValues.chunk(2, -1) as [Tensor, Tensor];
    const attended = attendTokens(own.queries, k, v, this.numHeads); // [B, N, D]
    const h = gateRows(x, gateA, this.proj.forward(attended));
    return gateRows(h, gateM, this.mlp.forward(modulateRows(h, shiftM, scaleM, BLOCK_EPS)));
  }
}

function stackModulations(blocks: readonly Block[], c: Tensor): Tensor {
  return cat(
    blocks.map(({ modulation: { weight, bias } }) =>
      linearRows(c, { weight }, bias!.expand([c.size(0), -1])).unsqueeze(0),
    ),
    0,
  ).unsqueeze(2); // [blocks, B, 1, 8D]
}

function dropTokens(
  x: Tensor,
  positions: Tensor,
  { probability, keep }: { probability: number; keep?: Tensor },
): Tensor {
  if (keep === undefined) return dropout(x, probability, true);
  const rows = keep.gather(1, positions.unsqueeze(-1).expand([-1, -1, x.size(2)]));
  return x.mul(rows).div(1 - probability);
}
