/**
 * Which codes a tokenizer has used lately: the last tokens of its training, first in, first out, and the share of the
 * codebook that is among them. The window is as wide as the released tokenizers' own buffer.
 */

import { cat, full, keep, noGrad, scope, type Tensor, zeros } from '@tessera/torch';
import { networkDevice } from '../nn/device.ts';

const WINDOW = 65536;
/** Marks what is not filled yet. */
const NOTHING = -1;

export class RecentTokens {
  /** [65536] int64, newest last; -1 where there has been nothing yet. */
  readonly window: Tensor;
  private readonly codebookSize: number;

  constructor(codebookSize: number) {
    this.codebookSize = codebookSize;
    this.window = scope(() => keep(full([WINDOW], NOTHING, { dtype: 'int64', device: networkDevice() })));
  }

  /** tokens — any shape, int64; returns the share of codes that are in the window, a scalar in [0, 1]. */
  record(tokens: Tensor): Tensor {
    return noGrad(() =>
      scope(() => {
        const all = cat([this.window, tokens.detach().flatten()]);
        this.window.copy_(all.narrow(0, all.numel - WINDOW, WINDOW));
        // Marked in a row of flags: counting would make the host wait for the largest token.
        const seen = zeros([this.codebookSize + 1], { device: this.window.device });
        seen.indexFill_(0, this.window.sub(NOTHING), 1);
        return seen.narrow(0, 1, this.codebookSize).sum().div(this.codebookSize);
      }),
    );
  }

  dispose(): void {
    this.window.dispose();
  }
}
