/** Drawing the tokens of one batch, step by step, whatever the kind of model: what progress bars and reveals see. */

import type { Tensor } from '@tessera/torch';

export interface TokenGeneration {
  readonly numSteps: number;
  /** Steps taken so far. */
  readonly stepsDone: number;
  readonly isDone: boolean;
  /** Memory for keys and values of earlier tokens, in bytes, where there is any. */
  readonly cacheBytes?: number;
  /** Takes one step and returns all tokens as known after it, [B, L] int64, owned by the caller. */
  step(): Tensor;
  dispose(): void;
}
