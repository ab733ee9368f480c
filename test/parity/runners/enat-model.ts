/** ENAT from a manifest's configuration and weights, and positions from masks. */

import type { Tensor } from '@tessera/torch';
import { Enat, type EnatConfig, loadModule } from 'tessera';
import type { Json } from '../golden-set.ts';
import type { CaseContext } from '../runner.ts';

export function enatConfig(config: Record<string, Json>): EnatConfig {
  return {
    gridSize: Number(config.gridSize),
    codebookSize: Number(config.codebookSize),
    numClasses: Number(config.numClasses),
    embedDim: Number(config.dim),
    encoderDepth: Number(config.encoderDepth),
    decoderDepth: Number(config.decoderDepth),
    numHeads: Number(config.numHeads),
    mlpRatio: Number(config.mlpRatio),
    tokenDropout: Number(config.tokenDropout),
  };
}

export function enatModel(context: CaseContext, weights = context.weights()): Enat {
  const config = enatConfig(context.config);
  return loadModule((p) => new Enat(config, p), weights, context.golden.id);
}

/** Positions where `mask` [B, L] is true, ascending: [B, N], or undefined for none. Rows have equal counts. */
export function positionsWhere(mask: Tensor): Tensor | undefined {
  const count = mask.select(0, 0).to('int64').sum().item();
  if (count === 0) return undefined;
  return mask.logicalNot().argsort({ stable: true }).narrow(1, 0, count);
}

/** Puts features at positions back into [B, L, D]. */
export function scatterFeatures(
  seqLen: number,
  ...parts: (readonly [Tensor | undefined, Tensor | undefined])[]
): Tensor {
  const [, first] = parts.find(([, features]) => features !== undefined)!;
  let whole = first!.narrow(1, 0, 1).zerosLike().repeat([1, seqLen, 1]);
  for (const [positions, features] of parts) {
    if (positions === undefined || features === undefined) continue;
    whole = whole.scatter(1, positions.unsqueeze(-1).expand([-1, -1, features.size(2)]), features);
  }
  return whole;
}
