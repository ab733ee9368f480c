/** A masked network of either family from a manifest's configuration and weights. */

import type { Tensor } from '@tessera/torch';
import { AutoNat, type AutoNatConfig, type Enat, loadModule } from 'tessera';
import type { Json } from '../golden-set.ts';
import type { CaseContext } from '../runner.ts';
import { enatModel, positionsWhere, scatterFeatures } from './enat-model.ts';

export function isAutonat(context: CaseContext): boolean {
  return context.config.network === 'uvit';
}

export function autonatConfig(config: Record<string, Json>): AutoNatConfig {
  if (config.qkvBias === true || config.skip === false) throw new Error('AutoNAT without skips or with a qkv bias');
  return {
    gridSize: Number(config.gridSize),
    codebookSize: Number(config.codebookSize),
    numClasses: Number(config.numClassEmbeddings) - 1,
    embedDim: Number(config.dim),
    depth: Number(config.depth),
    numHeads: Number(config.numHeads),
    mlpRatio: Number(config.mlpRatio),
    tokenDropout: Number(config.tokenDropout),
  };
}

export function autonatModel(context: CaseContext, weights = context.weights()): AutoNat {
  const config = autonatConfig(context.config);
  return loadModule((p) => new AutoNat(config, p), weights, context.golden.id);
}

export function natModel(context: CaseContext, weights = context.weights()): AutoNat | Enat {
  return isAutonat(context) ? autonatModel(context, weights) : enatModel(context, weights);
}

/** Logits of all positions, [B, L, V], without a previous state: ids — [B, L], labels — [B]. */
export function allLogits(model: AutoNat | Enat, ids: Tensor, labels: Tensor): Tensor {
  const conditioning = model.condition(labels);
  if (model instanceof AutoNat) return model.head(model.features({ tokens: ids, conditioning }));
  const mask = ids.eq(model.maskToken);
  const masked = positionsWhere(mask)!;
  const output = model.forward({ tokens: ids, masked, fresh: positionsWhere(mask.logicalNot()), conditioning });
  const { state } = output;
  return model.head(scatterFeatures(model.seqLen, [masked, output.masked], [state?.positions, state?.features]));
}
