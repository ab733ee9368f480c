/** GPT from a manifest's configuration and weights, and the parts of its cases that several runners share. */

import { fromTypedArray, type Tensor } from '@tessera/torch';
import { dropConditions, Gpt, type GptConfig, gptConfigSchema, loadModule, ropeAngles } from 'tessera';
import type { Output } from '../compare.ts';
import type { Json } from '../golden-set.ts';
import type { CaseContext } from '../runner.ts';

export function gptConfig(config: Record<string, Json>): GptConfig {
  return gptConfigSchema.parse({
    gridSize: config.gridSize,
    codebookSize: config.vocabSize,
    numClasses: config.numClasses,
    embedDim: config.dim,
    depth: config.numLayers,
    numHeads: config.numHeads,
    numKvHeads: config.numKvHeads,
    ffnMultipleOf: config.ffnMultipleOf,
    ropeBase: config.ropeBase,
    normEps: config.normEps,
    tokenDropout: config.tokenDropout,
    residualDropout: config.residualDropout,
    ffnDropout: config.ffnDropout,
    dropPath: config.dropPathRate,
    conditionDropout: config.classDropout,
    ...(config.modelType === 't2i' ? { caption: { dim: config.captionDim, numTokens: config.condTokens } } : {}),
  });
}

/** Buffers that released files may hold beside the weights. */
const NOT_WEIGHTS = /kv_cache|freqs_cis|causal_mask/;

export function gptModel(context: CaseContext, weights = context.weights()): Gpt {
  const config = gptConfig(context.config);
  const own = new Map([...weights].filter(([name]) => !NOT_WEIGHTS.test(name)));
  return loadModule((p) => new Gpt(config, p), own, context.golden.id);
}

/** The class condition, dropped where the recorded uniform is below the share. */
export function droppedCondition(model: Gpt, labels: Tensor, uniform: Tensor | undefined, share: number): Tensor {
  return model.embedClasses(uniform === undefined ? labels : dropConditions(model, labels, uniform.lt(share)));
}

export function gradients(model: Gpt): { norms: Map<string, Output>; grads: Map<string, Output>; total: number } {
  const norms = new Map<string, Output>();
  const grads = new Map<string, Output>();
  let squares = 0;
  for (const [name, { grad }] of model.parameters) {
    if (grad === undefined) continue;
    const norm = grad.linalgVectorNorm().item();
    norms.set(name, norm);
    grads.set(name, grad);
    squares += norm ** 2;
  }
  return { norms, grads, total: Math.sqrt(squares) };
}

/** cos and sin by pair as the reference stores them: [rows, headDim / 2, 2]. */
export function angleTable(
  coordinates: readonly (readonly number[])[],
  headDim: number,
  base: number,
  conditionTokens: number,
): Tensor {
  const table = ropeAngles(coordinates, headDim, base, conditionTokens);
  return fromTypedArray(table, [table.length / headDim, headDim / 2, 2]);
}
