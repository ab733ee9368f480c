/**
 * The moving average of a module's weights: average += (1 - decay) (weights - average), one libtorch call for all
 * parameters. Buffers are copied: they are statistics or counts, not weights. The decay of a step comes from
 * `emaDecayAt` of @tessera/schedule.
 */

import { foreachCopy_, foreachLerp_, noGrad, type Tensor } from '@tessera/torch';
import type { Trainable } from './module.ts';
import { StateDictError } from './state-dict.ts';

export class Ema {
  private readonly averages: Tensor[] = [];
  private readonly weights: Tensor[] = [];
  private readonly averageBuffers: Tensor[] = [];
  private readonly buffers: Tensor[] = [];

  /** average — by name, the same tensors as the model's; both are borrowed. */
  constructor(average: ReadonlyMap<string, Tensor>, model: Pick<Trainable, 'state' | 'parameters'>) {
    if (average.size !== model.state.size) {
      throw new StateDictError(
        `The average has ${average.size} tensors, the model ${model.state.size}: build both from one config.`,
      );
    }
    for (const [name, tensor] of model.state) {
      const partner = average.get(name);
      if (partner === undefined) throw new StateDictError(`The average has no tensor ${name}, which the model has.`);
      const trained = model.parameters.has(name);
      (trained ? this.averages : this.averageBuffers).push(partner);
      (trained ? this.weights : this.buffers).push(tensor);
    }
  }

  /** decay in [0, 1): the share of the old average that stays. */
  update(decay: number): void {
    noGrad(() => {
      if (this.averages.length > 0) foreachLerp_(this.averages, this.weights, 1 - decay);
      if (this.buffers.length > 0) foreachCopy_(this.averageBuffers, this.buffers);
    });
  }
}
