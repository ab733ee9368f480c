// Loss scaling for float16: gradients too small for it are lifted by a factor that grows while all is finite and is halved
// when something overflows, in which case the step is left out. Micikevicius et al., "Mixed Precision Training", ICLR 2018,
// section 3.2. The same rule and defaults as torch.amp.GradScaler; bfloat16 and float32 need none of it.

import { noGrad } from './autograd.ts';
import { TensorError } from './errors.ts';
import { full, zeros } from './generated/operations.ts';
import { addon } from './native/addon.ts';
import { keep, scope } from './scope.ts';
import { guarded, type Tensor } from './tensor.ts';

export interface GradScalerOptions {
  /** Default: 65536. */
  initialScale?: number;
  /** Factor after `growthInterval` finite steps in a row. Default: 2. */
  growthFactor?: number;
  /** Factor after an overflow. Default: 0.5. */
  backoffFactor?: number;
  /** Default: 2000 steps. */
  growthInterval?: number;
  /** Where the gradients are. Default: cpu. */
  device?: string;
}

/** What a checkpoint holds of a scaler. */
export interface GradScalerState {
  scale: number;
  /** Finite steps since the last change. */
  growthTracker: number;
}

export class GradScaler {
  readonly #growthFactor: number;
  readonly #backoffFactor: number;
  readonly #growthInterval: number;
  readonly #scale: Tensor;
  readonly #growthTracker: Tensor;
  readonly #foundInf: Tensor;

  constructor(options: GradScalerOptions = {}) {
    const {
      initialScale = 65536,
      growthFactor = 2,
      backoffFactor = 0.5,
      growthInterval = 2000,
      device = 'cpu',
    } = options;
    const isFine =
      initialScale > 0 && growthFactor > 1 && backoffFactor > 0 && backoffFactor < 1 && growthInterval >= 1;
    if (!isFine) {
      const got = `${initialScale}, ${growthFactor}, ${backoffFactor}, ${growthInterval}`;
      throw new TensorError(
        'TORCH',
        `GradScaler: expected initialScale > 0, growthFactor > 1, backoffFactor in (0, 1), growthInterval >= 1, got ${got}`,
        { operation: 'GradScaler' },
      );
    }
    this.#growthFactor = growthFactor;
    this.#backoffFactor = backoffFactor;
    this.#growthInterval = growthInterval;
    this.#scale = keep(full([1], initialScale, { device }));
    this.#growthTracker = keep(zeros([1], { dtype: 'int32', device }));
    this.#foundInf = keep(zeros([1], { device }));
  }

  /** The loss times the scale: call backward() on it. */
  scale(loss: Tensor): Tensor {
    return loss.mul(this.#scale.reshape([]));
  }

  /**
   * Divides gradients (float32, in place) by the scale. False where one of them is not finite: then leave the optimizer's
   * step out. Waits for the device once. Call once a step, before clipping, then `update`.
   */
  unscale_(gradients: readonly Tensor[]): boolean {
    return scope(() =>
      noGrad(() => {
        const inverse = this.#scale.to('float64').reciprocal().to('float32');
        const handles = gradients.map((gradient) => gradient.handle);
        guarded('unscale_', () => addon().scalerUnscale(handles, this.#foundInf.handle, inverse.handle));
        return this.#foundInf.item() === 0;
      }),
    );
  }

  /**
   * Grows or shrinks the scale by what unscale_ has found since the last update.
   *
   * @param allFinite false where another process has found an overflow in gradients that this one does not hold
   */
  update(allFinite = true): void {
    scope(() =>
      noGrad(() => {
        if (!allFinite) this.#foundInf.fill_(1);
        guarded('update', () =>
          addon().scalerUpdate(
            ...([this.#scale.handle, this.#growthTracker.handle, this.#foundInf.handle] as const),
            ...([this.#growthFactor, this.#backoffFactor, this.#growthInterval] as const),
          ),
        );
        this.#foundInf.zero_();
      }),
    );
  }

  state(): GradScalerState {
    return { scale: this.#scale.item(), growthTracker: this.#growthTracker.item() };
  }

  loadState(state: GradScalerState): void {
    scope(() =>
      noGrad(() => {
        this.#scale.fill_(state.scale);
        this.#growthTracker.fill_(state.growthTracker);
      }),
    );
  }

  dispose(): void {
    for (const tensor of [this.#scale, this.#growthTracker, this.#foundInf]) tensor.dispose();
  }
}
