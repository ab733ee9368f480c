/** Training a generator of any family on tokens: the family's own loss, on the rows of a shard. */

import { DrawPurpose } from '@tessera/schedule';
import { autocast, noGrad, scope } from '@tessera/torch';
import type { TokenRows } from '../data/token-dataset.ts';
import type { GeneratorModel, RunBlock } from '../models/family.ts';
import { familyOf } from '../models/registry.ts';
import { Recompute } from '../nn/recompute.ts';
import type { TrainingConfig } from './config.ts';
import type { TrainingTask } from './task.ts';

export interface GeneratorTaskOptions {
  model: GeneratorModel;
  /** Its moving average, of the same family and configuration. */
  ema: GeneratorModel;
  data: TokenRows;
  /** Rows for measurements; none when the data set is too small to spare any. */
  heldOut?: TokenRows | undefined;
  /** The family's recipe, parsed. */
  recipe: object;
  /** Keep only the blocks' inputs for the backward pass, and run each block again in it. */
  recompute?: boolean | undefined;
  /** Of training's matrix products, by autocast; weights, losses and measurements stay float32. */
  precision?: TrainingConfig['precision'];
}

export function createGeneratorTask(options: GeneratorTaskOptions): TrainingTask {
  const { model, ema, data, heldOut, recipe, recompute = false, precision } = options;
  const family = familyOf(model);
  const inPrecision = precision === undefined ? <T>(body: () => T): T => body() : under(precision, model);
  return {
    name: model.family,
    model,
    ema,
    numItems: data.numRows,
    ...(data.itemAt === undefined ? {} : { itemAt: (seed, place) => data.itemAt!(seed, place) }),
    shardLoss: (shard) => {
      const rows = data.rows(shard.items, shard.draws(DrawPurpose.AUGMENT));
      const draws = (purpose: number) => shard.draws(purpose);
      const batch = { ...rows, step: shard.step, draws };
      if (!recompute) return inPrecision(() => family.trainingLoss(model, ema, batch, recipe));
      const again = new Recompute(family.dropsInBlocks === true ? shard.dropoutSeed : undefined);
      // A block runs again in the backward pass, which is outside.
      const runBlock: RunBlock = (block, ...inputs) =>
        again.run((...given) => inPrecision(() => block(...given)), ...inputs);
      const { loss, metrics } = inPrecision(() => family.trainingLoss(model, ema, { ...batch, runBlock }, recipe));
      return { loss: again.lossWithGradient(model, loss), metrics };
    },
    ...(heldOut === undefined || heldOut.numRows === 0 ? {} : { evaluate: () => measure(ema, heldOut) }),
  };
}

function under(precision: 'bf16' | 'fp16', model: GeneratorModel): <T>(body: () => T) => T {
  const [parameter] = model.parameters.values();
  const device = parameter!.device.startsWith('cuda') ? 'cuda' : 'cpu';
  return (body) => autocast({ device, dtype: precision === 'bf16' ? 'bfloat16' : 'float16' }, body);
}

const MEASURED_BATCH = 64;
const MEASURED_ROWS = 256;

/** Means over the first held-out rows. */
function measure(network: GeneratorModel, heldOut: TokenRows): Record<string, number> {
  const numRows = Math.min(heldOut.numRows, MEASURED_ROWS);
  const means: Record<string, number> = {};
  for (let start = 0; start < numRows; start += MEASURED_BATCH) {
    const indices = Array.from({ length: Math.min(MEASURED_BATCH, numRows - start) }, (_, i) => start + i);
    const batch = noGrad(() =>
      scope(() => familyOf(network).measure(network, { ...heldOut.rows(indices, undefined), indices })),
    );
    for (const [name, value] of Object.entries(batch)) {
      means[name] = (means[name] ?? 0) + (value * indices.length) / numRows;
    }
  }
  return means;
}
