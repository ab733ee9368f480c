/**
 * The head of AutoNAT and ENAT, as BERT and MaskGIT have it: GELU, a norm, and the product with the word embeddings. D width, V codes.
 */

import { linear, type Tensor } from '@tessera/torch';
import { geluOver } from '../nn/in-place.ts';
import { type Initialisation, ZEROS } from '../nn/initialisation.ts';
import { LayerNorm, Linear } from '../nn/layers.ts';
import type { ParameterBuilder } from '../nn/module.ts';

/** The prediction head, tied to the word embeddings with the gradient stopped. */
export class TiedHead {
  private readonly bias: Tensor; // [1, 1, V + 1]
  private readonly fc: Linear;
  private readonly ln: LayerNorm;
  private readonly codebookSize: number;

  constructor(p: ParameterBuilder, dim: number, codebookSize: number, fc: { weightInit?: Initialisation } = {}) {
    this.bias = p.parameter('bias', [1, 1, codebookSize + 1], ZEROS);
    this.fc = new Linear(p.child('fc'), dim, dim, fc);
    this.ln = new LayerNorm(p.child('ln'), dim, 1e-5);
    this.codebookSize = codebookSize;
  }

  /** x — [..., D], words — [V + 1, D]; returns logits [..., V], the mask token cut off. */
  forward(x: Tensor, words: Tensor): Tensor {
    const h = this.ln.forward(geluOver(this.fc.forward(x)));
    // The mask token's row is cut off before the product: its logit is never wanted.
    const table = words.detach().narrow(0, 0, this.codebookSize);
    return linear(h, table, this.bias.narrow(2, 0, this.codebookSize).flatten());
  }
}
