/** Recorded generations id for id, with the recorded noise, and the schedules behind them. */

import { autonatInitialStrategy, enatStrategy, maskCounts, parseStrategy, type Strategy } from '@tessera/schedule';
import { keep, type Tensor } from '@tessera/torch';
import {
  type Enat,
  type EnatPrediction,
  type EnatSession,
  generateTokens,
  type NoiseSource,
  type StepRecord,
} from 'tessera';
import type { Output } from '../compare.ts';
import type { CaseContext, Runner } from '../runner.ts';
import { enatModel, scatterFeatures } from './enat-model.ts';
import { allLogits, autonatModel, isAutonat } from './nat-model.ts';

interface PerStep {
  guidanceScale: number[];
  samplingTemperature: number[];
  confidenceTemperature: number[];
  remaskCount: number[];
}

/** The case's explicit per-step numbers as a strategy; the file's guidance is w, ours is s = 1 + w. */
function strategyOf(context: CaseContext): Strategy {
  const perStep = context.param('perStep') as unknown as PerStep;
  return parseStrategy({
    numSteps: context.param<number>('numSteps'),
    remask: (context.param('remaskRule') as { type: 'sort' | 'threshold' }).type,
    keepProgress: false,
    sampleTemperatureFloor: context.optional<number>('samplingTemperatureFloor') ?? 1e-6,
    steps: perStep.guidanceScale.map((w, i) => ({
      maskCount: perStep.remaskCount[i],
      sampleTemperature: perStep.samplingTemperature[i],
      choiceTemperature: perStep.confidenceTemperature[i],
      guidanceScale: 1 + w,
    })),
  });
}

function recordedNoise(context: CaseContext): NoiseSource {
  const exponential = context.tensors('expNoise');
  const gumbel = context.tensors('gumbel');
  return {
    exponential: (step, positions) => {
      const all = exponential.get(String(step))!; // [B, L, V]
      return all.gather(1, positions.unsqueeze(-1).expand([-1, -1, all.size(2)]));
    },
    gumbel: (step) => gumbel.get(String(step))!,
  };
}

export const natGenerate: Runner = (context) => (isAutonat(context) ? generateAutonat(context) : generateEnat(context));

function generateAutonat(context: CaseContext): Record<string, Output> {
  const model = autonatModel(context);
  const labels = context.tensor('labels').flatten();
  const [stepIds, logitsCond, logitsNull] = [new Map(), new Map(), new Map()] as Map<string, Output>[];
  const maskCountIn: number[] = [];
  const observe = ({ step, input }: StepRecord): void => {
    const key = String(step);
    maskCountIn.push(input.firstCount);
    stepIds!.set(key, keep(input.tokens.detach()));
    logitsCond!.set(key, keep(allLogits(model, input.tokens, labels)));
    logitsNull!.set(key, keep(allLogits(model, input.tokens, labels.fullLike(model.nullLabel))));
  };
  const options = { strategy: strategyOf(context), labels: labels.toNumbers(), noise: recordedNoise(context), observe };
  const finalIds = generateTokens(model, options);
  return { stepIds: stepIds!, logitsCond: logitsCond!, logitsNull: logitsNull!, maskCountIn, finalIds };
}

function generateEnat(context: CaseContext): Record<string, Output> {
  const model = enatModel(context);
  const labels = context.tensor('labels').flatten();
  const outputs = {
    stepIds: new Map<string, Output>(),
    logitsCond: new Map<string, Output>(),
    logitsNull: new Map<string, Output>(),
    featCond: new Map<string, Output>(),
  };
  const maskCountIn: number[] = [];
  const nulls = model.startSession(labels.fullLike(model.nullLabel), false);
  // A step frees what was made in it, so what is compared later is kept.
  const observe = (record: StepRecord): void => {
    const key = String(record.step);
    maskCountIn.push(record.input.masked!.size(1));
    const feat = wholeFeatures(model, record);
    // A generation leaves out what it does not need of the unconditional branch: here it runs on its own.
    const { maskedFeatures } = nulls.predict({ ...record.input, masked: record.input.masked! }, 'done');
    const nullFeat = featuresOf(model, record.input.masked!, maskedFeatures, nulls, labels.size(0));
    outputs.stepIds.set(key, keep(record.input.tokens.detach()));
    outputs.featCond.set(key, keep(feat));
    outputs.logitsCond.set(key, keep(model.head(feat)));
    outputs.logitsNull.set(key, keep(model.head(nullFeat)));
  };
  const options = { strategy: strategyOf(context), labels: labels.toNumbers(), noise: recordedNoise(context), observe };
  const finalIds = generateTokens(model, options);
  nulls.dispose();
  return { ...outputs, maskCountIn, finalIds };
}

/** Features of all positions, [B, L, D], of the conditional branch. */
function wholeFeatures(model: Enat, { input, prediction, session }: StepRecord): Tensor {
  const { maskedFeatures } = prediction as EnatPrediction;
  return featuresOf(model, input.masked!, maskedFeatures, session as EnatSession, prediction.cond.size(0));
}

function featuresOf(model: Enat, masked: Tensor, features: Tensor, { visible }: EnatSession, batch: number): Tensor {
  const rows = (x: Tensor): Tensor => x.narrow(0, 0, batch);
  return scatterFeatures(
    model.seqLen,
    [masked, rows(features)],
    [visible && rows(visible.positions), visible && rows(visible.features)],
  );
}

export const natScheduleTable: Runner = (context) => {
  const numSteps = context.param<number>('numSteps');
  const seqLen = context.param<number>('seqLen');
  const method = context.param<string>('method');
  if (method === 'enat') {
    // Unit settings show the multipliers: a guidance of w = 1, temperatures of 1 before their decay.
    const strategy = enatStrategy({ numSteps, guidanceScale: 2, choiceTemperature: 1, sampleTemperature: 1 });
    const { maskedIn, newlyFixed } = maskCounts(strategy, seqLen);
    return {
      maskedIn,
      newlyFixed,
      guidanceMultiplier: strategy.steps.map((step) => step.guidanceScale - 1),
      maskTemperatureMultiplier: strategy.steps.map((step) => step.choiceTemperature),
      samplingTemperatureMultiplier: strategy.steps.map((step) => step.sampleTemperature),
    };
  }
  if (method !== 'autonat') return undefined;
  const strategy = autonatInitialStrategy(numSteps);
  const { maskedIn, newlyFixed } = maskCounts(strategy, seqLen);
  const butLast = strategy.steps.slice(0, -1);
  return {
    maskedIn,
    newlyFixed,
    remaskRatios: butLast.map((step) => step.maskRatio!),
    remaskTemperatures: butLast.map((step) => step.choiceTemperature),
    samplingTemperatures: strategy.steps.map((step) => step.sampleTemperature),
    guidanceScales: strategy.steps.map((step) => step.guidanceScale - 1),
  };
};
