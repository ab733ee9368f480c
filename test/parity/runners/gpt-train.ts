/** Training of LlamaGen and NPP step by step, with every draw injected, and their schedules. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { atPath, flattenStateDict, readTorchCheckpoint } from '@tessera/formats';
import { withFile } from '@tessera/formats/node';
import {
  type LearningRate,
  learningRateAt,
  learningRateSchema,
  type PatchStage,
  patchStageAt,
  patchStages,
  positionsOfRun,
  stagesInSteps,
} from '@tessera/schedule';
import { fromTorchTensor, noGrad, scope, type Tensor } from '@tessera/torch';
import {
  AdamW,
  clipByNorm,
  Ema,
  Gpt,
  globalNorm,
  gptLoss,
  gradientsOf,
  type LlamagenCheckpoint,
  llamagenFileName,
  loadModule,
  optimizerOrder,
  writeLlamagenCheckpoint,
} from 'tessera';
import type { Output } from '../compare.ts';
import type { CaseContext, Runner } from '../runner.ts';
import { droppedCondition, gptModel } from './gpt-model.ts';

export const patchSchedule: Runner = (context) => {
  const [epochs, gridSize] = [context.param<number>('epochs'), context.param<number>('gridSize')];
  const stages = stagesOf(context);
  return {
    patchSizes: stages.map(({ patchSide }) => patchSide ** 2),
    epochThresholds: stages.map(({ end }) => end),
    patchSizePerEpoch: Array.from({ length: epochs }, (_, epoch) => patchStageAt(stages, epoch).patchSide ** 2),
    tokensPerImageTotal: positionsOfRun(stages, gridSize),
  };
};

function stagesOf(context: CaseContext): PatchStage[] {
  const plan = {
    patchLevel: Math.max(1, context.param<number>('patchLevel')),
    epochRate: context.param<number>('epochRate'),
  };
  return patchStages(plan, context.param<number>('epochs'));
}

export const nppLearningRates: Runner = (context) => {
  const curve = curveOf(context, context.param<number[]>('epochThresholds'));
  return { lr: Array.from({ length: context.param<number>('numValues') }, (_, step) => learningRateAt(curve, step)) };
};

function curveOf(context: CaseContext, epochThresholds: readonly number[]): LearningRate {
  const stepsPerEpoch = context.param<number>('stepsPerEpoch');
  return learningRateSchema.parse({
    kind: 'stages',
    base: context.param<number>('baseLr'),
    end: context.param<number>('endLr'),
    warmupSteps: context.param<number>('warmupEpochs') * stepsPerEpoch,
    decayRatio: context.param<number>('decayRatio'),
    boundaries: epochThresholds.map((epoch) => epoch * stepsPerEpoch),
    exactOriginal: true,
  });
}

export const gptTrainSteps: Runner = (context) => {
  const rates = context.param<number[]>('lrPerStep');
  const decays = context.param<number[]>('emaDecayPerStep');
  return train(context, (step) => ({ learningRate: rates[step]!, emaDecay: decays[step]!, patchSide: 1 }));
};

export const nppTrainSteps: Runner = (context) => {
  const stages = stagesOf(context);
  const inSteps = stagesInSteps(stages, context.param<number>('stepsPerEpoch'));
  const curve = curveOf(
    context,
    stages.map(({ end }) => end),
  );
  const emaDecay = context.param<number>('emaDecay');
  return train(context, (step) => ({
    learningRate: learningRateAt(curve, step),
    emaDecay,
    patchSide: patchStageAt(inSteps, step).patchSide,
  }));
};

interface StepSettings {
  learningRate: number;
  emaDecay: number;
  patchSide: number;
}

function train(context: CaseContext, settingsAt: (step: number) => StepSettings): Record<string, Output> {
  const model = gptModel(context).trainable();
  const average = loadModule((p) => new Gpt(model.config, p), model.state, 'the trained network');
  const ema = new Ema(average.state, model);
  const optimizer = new AdamW(model.parameters, {
    betas: context.param<[number, number]>('betas'),
    eps: context.param<number>('eps'),
    weightDecay: context.param<number>('weightDecay'),
    groups: [{ matches: (_name, parameter) => parameter.shape.length < 2, weightDecay: 0 }],
  });
  const [ids, labels, uniforms] = [long(context, 'ids'), long(context, 'labels'), context.tensor('classUniform')];
  const share = context.param<number>('classDropout');
  const numSteps = context.param<number>('numSteps');
  const record = { losses: [] as number[], gradNorms: [] as number[], lr: [] as number[], patchSide: [] as number[] };
  for (let step = 0; step < numSteps; step++) {
    const { learningRate, emaDecay, patchSide } = settingsAt(step);
    scope(() => {
      const condition = droppedCondition(model, labels.select(0, step), uniforms.select(0, step), share);
      const { loss } = gptLoss(model, { tokens: ids.select(0, step), condition, patchSide });
      loss.backward();
      const gradients = gradientsOf(model.parameters.values());
      const norm = globalNorm(gradients);
      noGrad(() => clipByNorm(gradients, norm, context.param<number>('gradClip')));
      optimizer.step(learningRate);
      ema.update(emaDecay);
      record.losses.push(loss.item());
      record.gradNorms.push(norm);
    });
    model.clearGradients();
    record.lr.push(learningRate);
    record.patchSide.push(patchSide);
  }
  const written = throughFile(context, {
    model: model.state,
    ema: average.state,
    optimizer: optimizer.state(),
    steps: numSteps,
  });
  const field = (name: string) =>
    new Map<string, Output>([...model.parameters.keys()].map((key) => [key, written.optimizer.get(`${key}.${name}`)!]));
  return {
    ...record,
    model: new Map<string, Output>(written.model),
    ema: new Map<string, Output>(written.ema),
    expAvg: field('exp_avg'),
    expAvgSq: field('exp_avg_sq'),
    steps: written.steps,
  };
}

/** What is compared has been written as the original's checkpoint and read again. */
function throughFile(context: CaseContext, state: Pick<LlamagenCheckpoint, 'model' | 'ema' | 'optimizer' | 'steps'>) {
  const folder = mkdtempSync(join(tmpdir(), 'tessera-parity-'));
  try {
    const path = join(folder, llamagenFileName(state.steps));
    const [beta1, beta2] = context.param<[number, number]>('betas');
    const [eps, weightDecay] = [context.param<number>('eps'), context.param<number>('weightDecay')];
    const settings = { learningRate: 0, betas: [beta1, beta2] as const, eps, weightDecay };
    writeLlamagenCheckpoint(path, { ...state, settings, args: { kind: context.golden.kind } });
    return withFile(path, (reader) => {
      const value = readTorchCheckpoint(reader);
      const tensors = (entry: string) =>
        new Map([...flattenStateDict(value, [entry])].map(([name, one]) => [name, fromTorchTensor(one)]));
      const { decaying, others } = optimizerOrder(state.model);
      const moments = flattenStateDict(value, ['optimizer', 'state']);
      const optimizer = new Map<string, Tensor>();
      for (const [i, name] of [...decaying, ...others].entries()) {
        for (const one of ['exp_avg', 'exp_avg_sq'])
          optimizer.set(`${name}.${one}`, fromTorchTensor(moments.get(`${i}.${one}`)!));
      }
      return { model: tensors('model'), ema: tensors('ema'), optimizer, steps: Number(atPath(value, ['steps'])) };
    });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Recorded whole numbers come in any width. */
function long(context: CaseContext, role: string): Tensor {
  return context.tensor(role).to('int64');
}
