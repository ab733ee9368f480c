/**
 * The vector quantizer (van den Oord et al. 2017, with LlamaGen's normalised codes; reference §1.5): each latent vector
 * becomes its nearest code, and the gradient of what follows passes straight through to the latent.
 *
 * With `l2Norm`, latents and codes are brought to length 1 before they are compared, and the decoder sees unit codes;
 * the stored table is not normalised. Checked against the released implementation by the golden values of the kinds
 * vq-codec and vq-quantizer. Differences: losses are returned by name; the usage buffer, which counts distinct codes
 * among the last tokens and starts full of zeros, is filled only when asked.
 *
 * Shapes: B batch, y×x grid, d code width, V codes, n = B·y·x.
 */

import { cat, embedding, linalgVectorNorm, mseLoss, type Tensor } from '@tessera/torch';
import { ZEROS } from '../nn/initialisation.ts';
import type { ParameterBuilder } from '../nn/module.ts';
import type { VqConfig } from './vq-config.ts';

type QuantizerConfig = Pick<
  VqConfig,
  'codebookSize' | 'codeDim' | 'l2Norm' | 'commitBeta' | 'entropyRatio' | 'usageFifo'
>;

/** Scale of the distances under the softmax of the entropy loss. */
const ENTROPY_TEMPERATURE = 0.01;

export interface Quantized {
  /** [B, y·x] int64. */
  tokens: Tensor;
  /** [B, d, y, x] float32: the codes' values, the latent's gradient. */
  quantized: Tensor;
  /** Scalars. `commitment` holds β and `entropy` its ratio; `entropy` is missing where the ratio is 0. */
  losses: { codebook: Tensor; commitment: Tensor; entropy?: Tensor };
}

export class VectorQuantizer {
  /** [V, d], not normalised. */
  readonly table: Tensor;
  private readonly recent: Tensor | undefined; // [usageFifo] float32
  private readonly config: QuantizerConfig;

  constructor(p: ParameterBuilder, config: QuantizerConfig) {
    this.config = config;
    const { codebookSize, codeDim, usageFifo, l2Norm } = config;
    this.recent = usageFifo > 0 ? p.buffer('codebook_used', [usageFifo], ZEROS) : undefined;
    this.table = p.parameter('embedding.weight', [codebookSize, codeDim], {
      kind: l2Norm ? 'uniform-unit-rows' : 'uniform',
      bound: 1 / codebookSize,
    });
  }

  /** latent — [B, d, y, x]; the nearest code of each position, the lowest of equals: [B, y·x] int64. */
  tokens(latent: Tensor): Tensor {
    const [rows] = this.rows(latent);
    const codes = this.codes();
    // |e|² - 2 z·e: the latent's own length is the same for every code.
    const scores = codes.square().sum([1]).addmm(rows, codes.t(), { alpha: -2 }); // [n, V]
    return scores.argmin(1).view([latent.size(0), -1]);
  }

  /** latent — [B, d, y, x]. */
  quantize(latent: Tensor): Quantized {
    const [rows, grid] = this.rows(latent); // [n, d]
    const codes = this.codes();
    const distances = this.distances(rows, codes); // [n, V]
    const nearest = distances.argmin(1);
    const chosen = embedding(codes, nearest); // [n, d]
    const losses: Quantized['losses'] = {
      codebook: mseLoss(chosen, rows.detach()),
      commitment: mseLoss(rows, chosen.detach()).mul(this.config.commitBeta),
    };
    if (this.config.entropyRatio > 0) losses.entropy = entropyLoss(distances).mul(this.config.entropyRatio);
    const straightThrough = rows.add(chosen.sub(rows).detach());
    return {
      tokens: nearest.view([latent.size(0), -1]),
      quantized: straightThrough.view(grid).permute([0, 3, 1, 2]).contiguous(),
      losses,
    };
  }

  /**
   * What moving dead codes needs to know of latents [B, d, y, x]: as compared rows [n, d], their tokens [n] int64 and
   * squared distances to those codes [n]. Call it under noGrad.
   */
  assign(latents: readonly Tensor[]): { rows: Tensor; tokens: Tensor; squaredDistances: Tensor } {
    const rows = cat(latents.map((latent) => this.rows(latent)[0]));
    const [values, indices] = this.distances(rows, this.codes()).minDim(1);
    return { rows, tokens: indices, squaredDistances: values.clamp(0) };
  }

  /** tokens — [B, y·x] int64; the codes as the decoder sees them, [B, d, y, x]. */
  lookUp(tokens: Tensor, y: number, x: number): Tensor {
    return embedding(this.codes(), tokens.reshape([tokens.size(0), y, x]))
      .permute([0, 3, 1, 2])
      .contiguous();
  }

  /** Latents as they are compared with the codes: [B, d, y, x] to rows [n, d], of length 1 with l2Norm. */
  private rows(latent: Tensor): [rows: Tensor, grid: number[]] {
    const last = latent.permute([0, 2, 3, 1]); // [B, y, x, d]
    const rows = last.reshape([-1, this.config.codeDim]);
    return [this.config.l2Norm ? unitRows(rows) : rows, last.shape];
  }

  /**
   * Puts tokens into the usage buffer and returns the share of all codes that are among its last `usageFifo` tokens,
   * a scalar in [0, 1]; undefined without a buffer. Call it under noGrad.
   */
  recordUsage(tokens: Tensor): Tensor | undefined {
    if (this.recent === undefined) return undefined;
    const size = this.config.usageFifo;
    const all = cat([this.recent, tokens.flatten().to('float32')]);
    this.recent.copy_(all.narrow(0, all.numel - size, size));
    const counts = this.recent.to('int64').bincount(undefined, this.config.codebookSize);
    return counts.gt(0).sum().div(this.config.codebookSize);
  }

  private codes(): Tensor {
    return this.config.l2Norm ? unitRows(this.table) : this.table;
  }

  /** |z|² + |e|² - 2 z·e: rows — [n, d], codes — [V, d]; returns [n, V]. */
  private distances(rows: Tensor, codes: Tensor): Tensor {
    const squares = rows
      .square()
      .sum([1], true)
      .add(codes.square().sum([1])); // [n, V]
    return squares.sub(rows.matmul(codes.t()), { alpha: 2 });
  }
}

/** Each row divided by its length. */
function unitRows(rows: Tensor): Tensor {
  // The floor is torch's in F.normalize: a zero row stays zero.
  return rows.div(linalgVectorNorm(rows, 2, [1], true).clamp(1e-12));
}

/** Mean entropy of the soft assignments less the entropy of their mean: low when each is sure and all codes are used. */
function entropyLoss(distances: Tensor): Tensor {
  const affinity = distances.div(-ENTROPY_TEMPERATURE);
  const p = affinity.softmax(-1); // [n, V]
  const mean = p.mean([0]); // [V]
  const ofMean = mean.mul(mean.add(1e-5).log()).sum().neg();
  const each = p.mul(affinity.logSoftmax(-1)).sum([-1]).mean().neg();
  return each.sub(ofMean);
}
