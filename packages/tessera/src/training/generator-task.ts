/** Training a generator of any family on tokens: the family's own loss, on the rows of a shard. */

import { DrawPurpose } from '@tessera/schedule';
import { autocast, noGrad, scope } from '@tessera/torch';
import { evenly } from '../data/evenly.ts';
import type { TokenRows } from '../data/token-dataset.ts';
import type { GeneratorModel, RunBlock } from '../models/family.ts';
import { familyOf } from '../models/registry.ts';
import { beside } from '../nn/device.ts';
import { Recompute } from '../nn/recompute.ts';
import type { TrainingConfig } from './config.ts';
import type { ShardedModule } from './sharded-module.ts';
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
  /** The two networks cut into pieces, one a rank; blocks are then recomputed anyway. */
  pieces?: { model: ShardedModule; ema: ShardedModule } | undefined;
}

export function createGeneratorTask(options: GeneratorTaskOptions): TrainingTask {
  const { model, ema, data, heldOut, recipe, recompute = false, precision, pieces } = options;
  const family = familyOf(model);
  const inPrecision = precision === undefined ? <T>(body: () => T): T => body() : under(precision, model);
  return {
    name: model.family,
    model: pieces?.model ?? model,
    ema: pieces?.ema ?? ema,
    pieces: pieces?.ema,
    numItems: data.numRows,
    ...(data.itemAt === undefined ? {} : { itemAt: (seed, place) => data.itemAt!(seed, place) }),
    shardLoss: (shard) => {
      const rows = data.rows(shard.items, shard.draws(DrawPurpose.AUGMENT));
      const draws = (purpose: number) => shard.draws(purpose);
      const batch = { ...onDeviceOf(model, rows), step: shard.step, draws };
      const lossOf = (runBlock?: RunBlock) =>
        inPrecision(() => family.trainingLoss(model, ema, { ...batch, runBlock }, recipe));
      // A block runs again in the backward pass, which is outside.
      const precisely =
        (run: RunBlock): RunBlock =>
        (block, ...inputs) =>
          run((...given) => inPrecision(() => block(...given)), ...inputs);
      const dropoutSeed = family.dropsInBlocks === true ? shard.dropoutSeed : undefined;
      const { lossScale } = shard;
      if (pieces !== undefined) {
        return pieces.model.trainingLoss(dropoutSeed, (run) => lossOf(precisely(run)), lossScale);
      }
      if (!recompute) return lossOf();
      const again = new Recompute(dropoutSeed);
      const { loss, metrics } = lossOf(precisely(again.run));
      return { loss: again.lossWithGradient(model, loss, lossScale), metrics };
    },
    ...(heldOut === undefined || heldOut.numRows === 0
      ? {}
      : {
          evaluate: () =>
            pieces === undefined
              ? measure(ema, heldOut)
              : pieces.ema.forward((nextPass) => measure(ema, heldOut, nextPass)),
        }),
  };
}

function onDeviceOf(model: GeneratorModel, rows: ReturnType<TokenRows['rows']>): ReturnType<TokenRows['rows']> {
  return { tokens: beside(rows.tokens, model), labels: beside(rows.labels, model) };
}

function under(precision: 'bf16' | 'fp16', model: GeneratorModel): <T>(body: () => T) => T {
  const device = model.device.startsWith('cuda') ? 'cuda' : 'cpu';
  return (body) => autocast({ device, dtype: precision === 'bf16' ? 'bfloat16' : 'float16' }, body);
}

const MEASURED_BATCH = 64;
const MEASURED_ROWS = 256;

/** Means over held-out rows, taken evenly: data sets lie class by class. */
function measure(network: GeneratorModel, heldOut: TokenRows, nextPass?: () => RunBlock): Record<string, number> {
  const measured = evenly(heldOut.numRows, MEASURED_ROWS);
  const means: Record<string, number> = {};
  for (let start = 0; start < measured.length; start += MEASURED_BATCH) {
    const indices = measured.slice(start, start + MEASURED_BATCH);
    const batch = noGrad(() =>
      scope(() => {
        const rows = onDeviceOf(network, heldOut.rows(indices, undefined));
        return familyOf(network).measure(network, { ...rows, indices, runBlock: nextPass?.() });
      }),
    );
    for (const [name, value] of Object.entries(batch)) {
      means[name] = (means[name] ?? 0) + (value * indices.length) / measured.length;
    }
  }
  return means;
}
