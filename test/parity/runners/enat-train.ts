/** ENAT's training loss with every draw injected, and the counts of masked tokens. */

import { roundHalfEven, trainingMaskCount } from '@tessera/schedule';
import { noGrad, type Tensor } from '@tessera/torch';
import { type EnatLossInput, enatLoss } from 'tessera';
import type { Output } from '../compare.ts';
import type { CaseContext, Runner } from '../runner.ts';
import { enatModel, scatterFeatures } from './enat-model.ts';

function maskCountOf(context: CaseContext, draw: number): number {
  return trainingMaskCount(draw, context.param<number>('seqLen'), {
    minMasked: context.param<number>('minMasked'),
    maxMasked: context.param<number>('maxMasked'),
  });
}

export const natMaskCount: Runner = (context) => ({
  counts: context
    .tensor('betaDraws')
    .toNumbers()
    .map((draw) => maskCountOf(context, draw)),
});

export const enatTrainLoss: Runner = (context) => {
  const model = enatModel(context).trainable();
  const ema = enatModel(context, context.weights('ema'));
  const tokens = context.tensor('ids');
  const labels = context.tensor('labels').flatten();
  const maskCount = maskCountOf(context, context.tensor('betaDraws').item());
  const input: EnatLossInput = {
    tokens,
    labels,
    order: context.tensor('uniformOrder').argsort(),
    maskCount,
    labelSmoothing: context.param<number>('labelSmoothing'),
  };
  if (context.param<boolean>('reuse')) {
    const visible = model.seqLen - maskCount;
    const hideCount = roundHalfEven(visible * context.tensor('uniformHide').item());
    input.reuse = { network: ema, hideCount, hideOrder: context.tensor('uniformHideOrder') };
  }
  if (context.has('uniformLabelDrop')) {
    input.dropLabels = context.tensor('uniformLabelDrop').flatten().lt(context.param<number>('labelDropProb'));
  }
  if (context.has('dropoutKeep')) {
    const keep = context.tensor('dropoutKeep').to('float32');
    input.dropout = { probability: context.param<number>('tokenDropoutProb'), keep };
  }
  const result = enatLoss(model, input);
  result.loss.backward();

  const maskedIds = tokens.scatterValue(1, result.masked, context.param<number>('maskId'));
  const gradNorms: number[] = [];
  const grads = new Map<string, Output>();
  for (const name of context.param<string[]>('paramOrder')) {
    const { grad } = model.parameters.get(name)!;
    gradNorms.push(grad === undefined ? -1 : grad.linalgVectorNorm().item());
    if (grad !== undefined) grads.set(name, grad);
  }
  const outputs: Record<string, Output> = {
    maskedIds,
    labelsUsed: result.labelsUsed,
    loss: result.loss,
    gradNorms,
    grads,
  };
  const { before } = result;
  if (before !== undefined) {
    const { masked, visible } = before;
    // Training needs only the visible features of the step before; the reference recorded all of them.
    const full = noGrad(() => ema.forward({ tokens, masked, fresh: visible, conditioning: ema.condition(labels) }));
    outputs.prevMasked = ones(tokens, masked);
    outputs.prevFeat = scatterFeatures(model.seqLen, [masked, full.masked], [visible, before.state?.features]);
  }
  return outputs;
};

function ones(like: Tensor, positions: Tensor): Tensor {
  return like.zerosLike().scatterValue(1, positions, 1);
}
