/** Forward passes of ENAT, alone and as a chain with reused features. */

import { arange, noGrad, type Tensor } from '@tessera/torch';
import type { Enat, EnatOutput, EnatState } from 'tessera';
import type { Output } from '../compare.ts';
import type { CaseContext, Runner } from '../runner.ts';
import { enatModel, positionsWhere, scatterFeatures } from './enat-model.ts';

interface Call {
  logits: Tensor; // [B, L, V]
  feat: Tensor; // [B, L, D]
  mask: Tensor; // [B, L] bool
  fresh: Tensor | undefined;
  masked: Tensor;
  output: EnatOutput;
}

/** One call on ids in which the mask token stands for masked; `previous` is the call before. */
function call(
  model: Enat,
  ids: Tensor,
  labels: Tensor,
  previous?: { state: EnatState | undefined; mask: Tensor },
): Call {
  const mask = ids.eq(model.maskToken);
  const newlyVisible = previous === undefined ? mask.logicalNot() : mask.logicalNot().logicalAnd(previous.mask);
  const fresh = positionsWhere(newlyVisible);
  const masked = positionsWhere(mask)!;
  const output = model.forward({
    tokens: ids,
    masked,
    fresh,
    reused: previous?.state,
    conditioning: model.condition(labels.flatten()),
  });
  const feat = scatterFeatures(
    model.seqLen,
    [masked, output.masked],
    [output.state?.positions, output.state?.features],
  );
  return { logits: model.head(feat), feat, mask, fresh, masked, output };
}

export const enatForward: Runner = (context) => {
  const model = enatModel(context);
  const { logits, feat } = noGrad(() => call(model, context.tensor('ids'), context.tensor('labels')));
  return { logits, feat };
};

export const enatReuseChain: Runner = (context) => {
  const model = enatModel(context);
  const ids = context.tensors('ids');
  const labels = context.tensor('labels');
  const logits = new Map<string, Output>();
  const feat = new Map<string, Output>();
  const masked = new Map<string, Output>();
  let activations: Map<string, Output> | undefined;
  let previous: Call | undefined;
  noGrad(() => {
    for (let i = 0; i < context.param<number>('numCalls'); i++) {
      const before = previous && { state: previous.output.state, mask: previous.mask };
      const now = call(model, ids.get(String(i))!, labels, before);
      logits.set(String(i), now.logits);
      feat.set(String(i), now.feat);
      masked.set(String(i), now.mask.to('int64'));
      if (i === context.optional<number>('activationsCall')) {
        activations = activationsOf(model, ids.get(String(i))!, labels, now, before?.state);
      }
      previous = now;
    }
  });
  return { logits, feat, masked, ...(activations === undefined ? {} : { activations }) };
};

function activationsOf(
  model: Enat,
  ids: Tensor,
  labels: Tensor,
  now: Call,
  before: EnatState | undefined,
): Map<string, Output> {
  const everywhere = arange(0, model.seqLen, 1, { device: ids.device }).unsqueeze(0).expandAs(ids).contiguous();
  const tokenEmbedding = model.embedTokens(ids, everywhere);
  const at = (positions: Tensor): Tensor =>
    tokenEmbedding.gather(1, positions.unsqueeze(-1).expand([-1, -1, tokenEmbedding.size(2)]));
  const conditioning = model.condition(labels.flatten());
  const result = new Map<string, Output>([
    ['tokenEmbedding', tokenEmbedding],
    ['classEmbedding', model.embedLabels(labels.flatten())],
    [
      'decoderBlock0',
      model.runBlock(model.config.encoderDepth, at(now.masked), conditioning, now.output.state?.features),
    ],
  ]);
  // The reference lists the older tokens in ascending order of position; attention does not depend on it.
  if (before !== undefined) {
    const ascending = before.positions.argsort().unsqueeze(-1).expandAs(before.features);
    result.set('reusedFeatures', model.projectReused(before.features.gather(1, ascending)));
  }
  if (now.fresh !== undefined) {
    const foreign = before === undefined ? undefined : model.projectReused(before.features);
    result.set('encoderBlock0', model.runBlock(0, at(now.fresh), conditioning, foreign));
  }
  return result;
}

export const enatReuseSameMask: Runner = (context: CaseContext) => {
  const model = enatModel(context);
  const mask = context.tensor('prevMasked').to('bool');
  const positions = positionsWhere(mask.logicalNot())!;
  const feat = context.tensor('prevFeat');
  const features = feat.gather(1, positions.unsqueeze(-1).expand([-1, -1, feat.size(2)]));
  const state: EnatState = { positions, features };
  return { logits: noGrad(() => call(model, context.tensor('ids'), context.tensor('labels'), { state, mask })).logits };
};
