/** AutoNAT's masking, loss and gradients with every draw injected, and steps of its training. */

import { learningRateAt, trainingMaskCount } from '@tessera/schedule';
import { noGrad, scope, type Tensor, tensor } from '@tessera/torch';
import { AdamW, type AutoNat, type AutoNatLossInput, autonatLoss, beside, Ema } from 'tessera';
import type { Output } from '../compare.ts';
import type { CaseContext, Runner } from '../runner.ts';
import { autonatModel } from './nat-model.ts';

export const natMaskSample: Runner = (context) => {
  const ids = context.tensor('ids');
  const limits = { minMasked: context.param<number>('minMasked'), maxMasked: context.param<number>('maxMasked') };
  const counts = context
    .tensor('betaDraws')
    .toNumbers()
    .map((draw) => trainingMaskCount(draw, context.param<number>('seqLen'), limits));
  // The values of the argsort are compared, not the ranks.
  const mask = context
    .tensor('uniform')
    .argsort()
    .lt(beside(tensor(counts, 'int64'), ids).unsqueeze(1));
  return {
    maskedIds: ids.maskedFill(mask, context.param<number>('maskId')),
    targets: ids.maskedFill(mask.logicalNot(), context.param<number>('ignoreIndex')),
  };
};

/** The case's batch as the loss takes it: masked positions are those with a target. */
function lossInput(context: CaseContext): AutoNatLossInput {
  const targets = context.tensor('targets').flatten();
  const masked = targets.ne(context.param<number>('ignoreIndex')).nonzero().flatten();
  return {
    ids: context.tensor('ids'),
    labels: context.tensor('labels').flatten(),
    masked,
    targets: targets.indexSelect(0, masked),
    labelSmoothing: context.param<number>('labelSmoothing'),
  };
}

export const natTrainLoss: Runner = (context) => {
  const model = autonatModel(context).trainable();
  const input = lossInput(context);
  if (context.has('dropoutKeep')) {
    const keep = context.tensor('dropoutKeep').to('float32');
    input.dropout = { probability: context.param<number>('tokenDropoutProb'), keep };
  }
  const { loss } = autonatLoss(model, input);
  loss.backward();
  const grads = new Map<string, Output>();
  const gradNorms: number[] = [];
  let total = 0;
  for (const name of context.param<string[]>('paramOrder')) {
    const { grad } = model.parameters.get(name)!;
    if (grad !== undefined) grads.set(name, grad);
    const norm = grad === undefined ? -1 : grad.linalgVectorNorm().item();
    gradNorms.push(norm);
    total += Math.max(0, norm) ** 2;
  }
  return { loss: loss.detach(), grads, gradNorms, gradNormTotal: Math.sqrt(total) };
};

export const natTrainSteps: Runner = (context) => {
  const model = autonatModel(context).trainable();
  const average = autonatModel(context);
  const [beta1, beta2] = context.param<[number, number]>('betas');
  const optimizer = new AdamW(model.parameters, {
    betas: [beta1, beta2],
    eps: context.param<number>('eps'),
    weightDecay: context.param<number>('weightDecay'),
  });
  const ema = new Ema(average.state, model);
  const snapshots = new Set(context.param<number[]>('snapshotAfter'));
  const [params, emaParams] = [new Map<string, Output>(), new Map<string, Output>()];
  const [losses, rates]: [number[], number[]] = [[], []];
  const curve = {
    kind: 'constant',
    base: context.param<number>('baseLr'),
    warmupSteps: context.param<number>('warmupSteps'),
    exactOriginal: true,
  } as const;
  for (let step = 0; step < context.param<number>('numSteps'); step++) {
    scope(() => {
      const { loss } = autonatLoss(model, lossInput(context));
      loss.backward();
      losses.push(loss.item());
    });
    rates.push(learningRateAt(curve, step));
    noGrad(() => {
      optimizer.step(rates.at(-1)!);
      ema.update(context.param<number>('emaDecay'));
    });
    model.clearGradients();
    if (snapshots.has(step + 1)) {
      params.set(String(step + 1), valuesOf(model));
      emaParams.set(String(step + 1), valuesOf(average));
    }
  }
  optimizer.dispose();
  return { lr: rates, loss: losses, params, emaParams };
};

function valuesOf(model: AutoNat): Map<string, Tensor> {
  return new Map([...model.state].map(([name, value]) => [name, value.detach().clone()]));
}
