/**
 * AutoNAT (Ni et al., CVPR 2024): a U-ViT (Bao et al., CVPR 2023) over tokens. All L tokens, masked and visible alike,
 * stand behind one class token; a stack of blocks whose second half also sees what the first half gave, by skip
 * connections; a head tied to the word embeddings.
 *
 * Checked against the released implementation's behaviour (LeapLabTHU/ImprovedNAT) by the parity suite. Differences:
 * - The result is wanted at some positions only, so the last block and the head compute those alone: its keys and values
 *   come from all tokens, its queries from the wanted ones. The others' features have no use.
 * - The class embedding depends on the label alone and is made once by `condition`, not at each step.
 * - Dropout is an argument, not a mode.
 *
 * Shapes: B batch, L tokens, D width, V codes, M wanted positions of a sample.
 */

import { strictConfig } from '@tessera/schedule';
import { attendTokens, cat, dropout, embedding, linear, type Tensor } from '@tessera/torch';
import { z } from 'zod';
import { addOver, geluOver } from '../nn/in-place.ts';
import type { Initialisation } from '../nn/initialisation.ts';
import { Embedding, LayerNorm, Linear } from '../nn/layers.ts';
import { Module, type ParameterBuilder } from '../nn/module.ts';
import { AutoNatSession } from './autonat-session.ts';
import { type MaskedModel, type RunBlock, runAtOnce } from './family.ts';
import { TiedHead } from './tied-head.ts';

export const autonatConfigSchema = strictConfig({
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
  /** Even: half of the blocks before the middle one and half after it, depth + 1 in all. */
  depth: z.int().min(2).max(512).multipleOf(2),
  numHeads: z.int().min(1).max(256),
  mlpRatio: z.number().positive().max(16).default(4),
  /** Dropout on token embeddings while training. */
  tokenDropout: z.number().min(0).max(0.9).default(0.1),
}).refine((config) => config.embedDim % config.numHeads === 0, {
  message: 'expected embedDim to be a multiple of numHeads',
});

export type AutoNatConfig = z.infer<typeof autonatConfigSchema>;

/** Told of intermediate values by name: inspection and parity. */
export type AutoNatProbe = (place: string, value: Tensor) => void;

export interface AutoNatInput {
  /** [B, L] int64, the mask token at masked positions. */
  tokens: Tensor;
  /** From `condition`: [B, 1, D]. */
  conditioning: Tensor;
  /** Positions whose features are wanted: [B, M] int64; undefined for all. */
  wanted?: Tensor | undefined;
  /** Token dropout: a probability, or a recorded keep mask [B, L, D] with the probability that scales it. */
  dropout?: { probability: number; keep?: Tensor };
  runBlock?: RunBlock | undefined;
  probe?: AutoNatProbe;
}

const NORMAL: Initialisation = { kind: 'normal', std: 0.02 };
const BLOCK_EPS = 1e-5;

export class AutoNat extends Module implements MaskedModel {
  readonly family = 'autonat';
  readonly generation = 'masked';
  readonly takesRaggedMasks = true;
  readonly config: AutoNatConfig;
  private readonly tokenEmbedding: TokenEmbedding;
  private readonly classEmbedding: TokenEmbedding;
  private readonly inBlocks: Block[];
  private readonly midBlock: Block;
  private readonly outBlocks: Block[];
  private readonly norm: LayerNorm;
  private readonly mlm: TiedHead;

  constructor(config: AutoNatConfig, p: ParameterBuilder) {
    super(p);
    this.config = config;
    const { embedDim: D, codebookSize, numClasses, gridSize, depth, numHeads } = config;
    const hidden = Math.round(D * config.mlpRatio);
    this.tokenEmbedding = new TokenEmbedding(p.child('token_emb'), codebookSize + 1, gridSize * gridSize, D);
    this.classEmbedding = new TokenEmbedding(p.child('context_embed'), numClasses + 1, 1, D);
    const stack = (name: string, skips: boolean) =>
      Array.from({ length: depth / 2 }, (_, i) => new Block(p.child(name, i), D, numHeads, hidden, skips));
    this.inBlocks = stack('in_blocks', false);
    this.midBlock = new Block(p.child('mid_block'), D, numHeads, hidden, false);
    this.outBlocks = stack('out_blocks', true);
    this.norm = new LayerNorm(p.child('norm'), D, BLOCK_EPS);
    this.mlm = new TiedHead(p.child('mlm_layer'), D, codebookSize, LINEAR);
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

  /** The blocks alone: the head stays float32. */
  useInt8(): boolean {
    return this.quantizeLayers(/^(in_blocks|mid_block|out_blocks)\./);
  }

  startSession(labels: Tensor, guided: boolean): AutoNatSession {
    return new AutoNatSession(this, labels, guided);
  }

  /** The class tokens of labels: [B] int64 to [B, 1, D]. */
  condition(labels: Tensor): Tensor {
    const ids = labels.unsqueeze(1);
    return this.classEmbedding.forward(ids, ids.zerosLike());
  }

  /** Features after the final norm, for `head`: [B, M, D] at wanted positions, or [B, L, D]. */
  features(input: AutoNatInput): Tensor {
    const { tokens, conditioning, wanted, probe, runBlock = runAtOnce } = input;
    const embedded = this.tokenEmbedding.ofAll(tokens); // [B, L, D]
    probe?.('tokenEmbedding', embedded);
    probe?.('classEmbedding', conditioning);
    let x = cat([conditioning, dropTokens(embedded, input.dropout)], 1); // [B, 1 + L, D]
    const skips: Tensor[] = [];
    for (const [i, block] of this.inBlocks.entries()) {
      x = runBlock((h) => block.forward(h), x);
      skips.push(x);
      probe?.(`inBlock${i}`, x);
    }
    x = runBlock((h) => this.midBlock.forward(h), x);
    probe?.('midBlock', x);
    const rows = wanted?.add(1); // the class token stands first
    for (const [i, block] of this.outBlocks.entries()) {
      const isLast = i === this.outBlocks.length - 1;
      x = runBlock((h, skip) => block.forward(block.joined(h, skip!), isLast ? rows : undefined), x, skips.pop()!);
      probe?.(`outBlock${i}`, x);
    }
    const normed = this.norm.forward(x);
    probe?.('finalNorm', normed);
    return wanted === undefined ? normed.narrow(1, 1, this.seqLen) : normed;
  }

  /** features — [..., D]; returns logits [..., V], the mask token cut off. */
  head(features: Tensor): Tensor {
    return this.mlm.forward(features, this.tokenEmbedding.words);
  }
}

/** LN(word[id] + position[p]). */
class TokenEmbedding {
  readonly words: Tensor; // [V + 1, D]
  private readonly positions: Embedding; // [L, D]
  private readonly norm: LayerNorm;

  constructor(p: ParameterBuilder, numTokens: number, seqLen: number, dim: number) {
    this.words = p.parameter('word_embeddings.weight', [numTokens, dim], NORMAL);
    this.positions = new Embedding(p, seqLen, dim, 0.02, 'position_embeddings.weight');
    this.norm = new LayerNorm(p.child('LayerNorm'), dim, 1e-6);
  }

  /** ids, positions — [B, N] int64; returns [B, N, D]. */
  forward(ids: Tensor, positions: Tensor): Tensor {
    return this.norm.forward(embedding(this.words, ids).add(this.positions.forward(positions)));
  }

  /** ids at every position — [B, L] int64; returns [B, L, D]. */
  ofAll(ids: Tensor): Tensor {
    return this.norm.forward(embedding(this.words, ids).add(this.positions.weight));
  }
}

/** x + Attn(LN x); x + MLP(LN x). Blocks of the second half first join what the first half left. */
class Block {
  private readonly norm1: LayerNorm;
  private readonly qkv: Linear; // q, k, v in this order, each head by head
  private readonly proj: Linear;
  private readonly norm2: LayerNorm;
  private readonly fc1: Linear;
  private readonly fc2: Linear;
  private readonly skip: Linear | undefined;
  private readonly dim: number;
  private readonly numHeads: number;

  constructor(p: ParameterBuilder, dim: number, numHeads: number, hidden: number, skips: boolean) {
    this.dim = dim;
    this.numHeads = numHeads;
    this.norm1 = new LayerNorm(p.child('norm1'), dim, BLOCK_EPS);
    this.qkv = new Linear(p.child('attn.qkv'), dim, 3 * dim, { bias: false, weightInit: NORMAL });
    this.proj = new Linear(p.child('attn.proj'), dim, dim, LINEAR);
    this.norm2 = new LayerNorm(p.child('norm2'), dim, BLOCK_EPS);
    this.fc1 = new Linear(p.child('mlp.fc1'), dim, hidden, LINEAR);
    this.fc2 = new Linear(p.child('mlp.fc2'), hidden, dim, LINEAR);
    this.skip = skips ? new Linear(p.child('skip_linear'), 2 * dim, dim, LINEAR) : undefined;
  }

  /** x, skip — [B, N, D]; returns [B, N, D]. */
  joined(x: Tensor, skip: Tensor): Tensor {
    return this.skip!.forward(cat([x, skip], -1));
  }

  /** x — [B, N, D]; rows — [B, M] int64, the tokens wanted, or undefined for all; returns [B, M or N, D]. */
  forward(x: Tensor, rows?: Tensor): Tensor {
    const normed = this.norm1.forward(x);
    const [own, q, k, v] =
      rows === undefined
        ? [x, ...(this.qkv.forward(normed).chunk(3, -1) as [Tensor, Tensor, Tensor])]
        : [rowsOf(x, rows), ...this.restricted(normed, rowsOf(normed, rows))];
    const h = addOver(this.proj.forward(attendTokens(q, k, v, this.numHeads)), own);
    return addOver(this.fc2.forward(geluOver(this.fc1.forward(this.norm2.forward(h)))), h);
  }

  /** Queries of some tokens, keys and values of all; in float32, for it takes the weight apart. */
  private restricted(all: Tensor, some: Tensor): [Tensor, Tensor, Tensor] {
    const { weight } = this.qkv;
    const { dim } = this;
    const [k, v] = linear(all, weight.narrow(0, dim, 2 * dim)).chunk(2, -1) as [Tensor, Tensor];
    return [linear(some, weight.narrow(0, 0, dim)), k, v];
  }
}

const LINEAR = { weightInit: NORMAL };

/** x — [B, N, D], rows — [B, M]; returns [B, M, D]. */
function rowsOf(x: Tensor, rows: Tensor): Tensor {
  return x.gather(1, rows.unsqueeze(-1).expand([-1, -1, x.size(2)]));
}

function dropTokens(x: Tensor, setting: AutoNatInput['dropout']): Tensor {
  if (setting === undefined) return x;
  const { probability, keep } = setting;
  return keep === undefined ? dropout(x, probability, true) : x.mul(keep).div(1 - probability);
}
