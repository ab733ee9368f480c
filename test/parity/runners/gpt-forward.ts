/** LlamaGen's and NPP's network: positions, conditions, patches, losses with gradients, parameter counts. */

import { autocast, cat, type Tensor } from '@tessera/torch';
import {
  applyRope,
  averageCells,
  beside,
  captionCondition,
  conditionMask,
  dropConditions,
  dropPath,
  Gpt,
  type GptConfig,
  type GptLossOutput,
  type GptProbe,
  gptLoss,
  gptSizes,
  gridCoordinates,
  type ModelPreset,
  modelPreset,
  parameterShapes,
  ropeTableOf,
  tokenCells,
} from 'tessera';
import type { Output } from '../compare.ts';
import type { CaseContext, Runner } from '../runner.ts';
import { angleTable, droppedCondition, gptModel, gradients } from './gpt-model.ts';

export const ropeTable: Runner = (context) => {
  const side = context.optional<number>('levelGridSize') ?? context.param<number>('gridSize');
  return { table: tableOf(context, gridCoordinates(side)) };
};

export const ropeTable1d: Runner = (context) => {
  const places = Array.from({ length: context.param<number>('seqLen') }, (_, i) => [i]);
  return { table: tableOf(context, places) };
};

function tableOf(context: CaseContext, coordinates: readonly (readonly number[])[]): Output {
  const [headDim, base] = [context.param<number>('headDim'), context.param<number>('base')];
  return angleTable(coordinates, headDim, base, context.param<number>('condTokens'));
}

export const ropeApply: Runner = (context) => {
  const pairs = context.tensor('table');
  const table = ropeTableOf(pairs.toTypedArray() as Float32Array, 2 * pairs.size(1));
  const x = context.tensor('x');
  return { y: applyRope(x, { cos: beside(table.cos, x), sin: beside(table.sin, x) }) };
};

export const dropPathRunner: Runner = (context) => {
  const keep = 1 - context.param<number>('dropProb');
  return { y: dropPath(context.tensor('x'), context.tensor('keep').flatten(), keep) };
};

export const labelEmbedder: Runner = (context) => {
  const model = gptModel(context);
  const dropped = context.tensor('forceDrop').eq(1);
  return { embedding: model.embedClasses(dropConditions(model, context.tensor('labels').to('int64'), dropped)) };
};

export const paramCount: Runner = (context) => {
  const preset = context.param<string>('name').toLowerCase() as ModelPreset;
  const { config } = modelPreset(preset, {
    codebookSize: context.param<number>('vocabSize'),
    numClasses: context.param<number>('numClasses'),
    gridSize: Math.sqrt(context.param<number>('blockSize')),
  });
  const { depth, numHeads, embedDim } = config as GptConfig;
  const { ffnHidden, headDim } = gptSizes(config as GptConfig);
  const { numParameters } = parameterShapes((p) => new Gpt(config as GptConfig, p));
  return { totalParameters: numParameters, numLayers: depth, numHeads, dim: embedDim, ffnHidden, headDim };
};

export const patchify: Runner = (context) => {
  const [gridSize, patchSide] = [context.param<number>('gridSize'), context.param<number>('patchSide')];
  return {
    embeddings: averageCells(context.tensor('embeddings'), gridSize, patchSide),
    ...(context.has('ids') ? { targets: tokenCells(context.tensor('ids').to('int64'), gridSize, patchSide) } : {}),
  };
};

export const gptForwardLoss: Runner = (context) => {
  const activations = new Map<string, Output>();
  return { ...lossOutputs(context, 1, (name, value) => activations.set(name, value.detach())), activations };
};

export const nppForwardLoss: Runner = (context) => {
  const outputs = lossOutputs(context, context.param<number>('patchSide'));
  const logits = outputs.logits.narrow(1, 0, context.param<number>('logitPositions'));
  return { ...outputs, logits };
};

function lossOutputs(context: CaseContext, patchSide: number, observe?: GptProbe) {
  const model = gptModel(context).trainable();
  const uniform = context.has('classUniform') ? context.tensor('classUniform') : undefined;
  const forward = (): GptLossOutput => lossOf(context, model, patchSide, uniform, observe);
  const mixed = context.optional<string | null>('autocast') === 'bfloat16';
  const { loss, logits } = mixed ? autocast({ device: 'cpu' }, forward) : forward();
  loss.backward();
  const { norms, grads, total } = gradients(model);
  return { logits: logits.detach(), loss: loss.detach(), gradNorms: norms, grads, gradNormTotal: total };
}

function lossOf(
  context: CaseContext,
  model: Gpt,
  patchSide: number,
  uniform: Tensor | undefined,
  observe: GptProbe | undefined,
): GptLossOutput {
  return gptLoss(model, {
    tokens: context.tensor('ids').to('int64'),
    condition: droppedCondition(
      model,
      context.tensor('labels').to('int64'),
      uniform,
      context.param<number>('classDropout'),
    ),
    patchSide,
    valid: context.has('valid') ? context.tensor('valid').flatten() : undefined,
    observe,
  });
}

export const gptForwardEval: Runner = (context) => {
  const model = gptModel(context);
  const [ids, labels] = [context.tensor('ids').to('int64'), context.tensor('labels').to('int64')];
  const x = cat([model.embedClasses(labels), model.embedTokens(ids)], 1);
  return { logits: model.head(model.forward({ x, rope: model.rope() })) };
};

export const captionEmbed: Runner = (context) => {
  return { embedding: gptModel(context).embedCaptions(context.tensor('captions')) };
};

export const captionForwardLoss: Runner = (context) => {
  const model = gptModel(context);
  const [captions, shown, tokens] = [
    context.tensor('captions'),
    context.tensor('embMasks'),
    context.tensor('ids').to('int64'),
  ];
  const { embedded, visible } = captionCondition(model, captions, shown, false);
  const whole = conditionMask(visible!, visible!.size(1) + tokens.size(1));
  const length = whole.size(-1) - 1;
  const { loss, logits } = gptLoss(model, {
    tokens,
    condition: embedded,
    patchSide: 1,
    mask: whole.narrow(2, 0, length).narrow(3, 0, length),
  });
  return { maskRowSum: whole.to('int64').sum([-1]), logits, loss };
};
