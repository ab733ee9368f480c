/** Recorded generations id for id with the recorded noise, and the filters of the sampler. */

import { type AutoregressiveSettings, autoregressiveSettings } from '@tessera/schedule';
import { keep, stack, type Tensor } from '@tessera/torch';
import {
  AutoregressiveGeneration,
  captionCondition,
  classCondition,
  filterLogits,
  type Gpt,
  type SequenceCondition,
} from 'tessera';
import type { Output } from '../compare.ts';
import type { CaseContext, Runner } from '../runner.ts';
import { gptModel } from './gpt-model.ts';

function settingsOf(context: CaseContext): AutoregressiveSettings {
  const interval = context.optional<number>('guidanceInterval') ?? -1;
  return autoregressiveSettings({
    guidanceScale: context.optional<number>('guidanceScale') ?? 1,
    // Decode step i makes token i + 1, and those after the interval are not guided.
    ...(interval > -1 ? { guidedTokens: interval + 1 } : {}),
    temperature: context.optional<number>('temperature') ?? 1,
    topK: context.optional<number>('topK') ?? 0,
    topP: context.optional<number>('topP') ?? 1,
    greedy: context.optional<boolean>('sample') === false,
  });
}

function generate(
  context: CaseContext,
  model: Gpt,
  condition: (images: readonly number[], guided: boolean) => SequenceCondition,
  count: number,
) {
  const noise = context.has('expNoise') ? context.tensor('expNoise') : undefined; // [step, B, V]
  const wanted = context.optional<number[]>('logitSteps') ?? [];
  const logits: Tensor[] = [];
  const generation = new AutoregressiveGeneration(model, {
    settings: settingsOf(context),
    noise: {
      exponential: (images, positions) =>
        stack(images.map((image, i) => noise!.select(0, positions[i]!).select(0, image))),
    },
    images: Array.from({ length: count }, (_, i) => i),
    condition,
    slots: count,
    maxTokens: context.param<number>('maxNewTokens'),
    observe: (record) => {
      if (wanted.includes(record.positions[0]!)) logits.push(keep(record.logits.detach()));
    },
  });
  const rows = new Map<number, Tensor>();
  try {
    while (!generation.isDone) for (const { image, tokens } of generation.step()) rows.set(image, tokens);
  } finally {
    generation.dispose();
  }
  const outputs: Record<string, Output> = { ids: stack([...rows].sort(([a], [b]) => a - b).map(([, row]) => row)) };
  if (logits.length > 0) outputs.logits = stack(logits);
  return outputs;
}

export const gptGenerate: Runner = (context) => {
  const model = gptModel(context);
  const labels = context.tensor('labels').to('int64').flatten();
  const condition = (images: readonly number[], guided: boolean): SequenceCondition =>
    classCondition(model, stack(images.map((image) => labels.select(0, image))), guided);
  return generate(context, model, condition, labels.size(0));
};

export const captionGenerate: Runner = (context) => {
  const model = gptModel(context);
  const [captions, shown] = [context.tensor('captions'), context.tensor('embMasks')];
  const condition = (images: readonly number[], guided: boolean): SequenceCondition => {
    const pick = (x: Tensor): Tensor => stack(images.map((image) => x.select(0, image)));
    return captionCondition(model, pick(captions), pick(shown), guided);
  };
  return generate(context, model, condition, captions.size(0));
};

export const logitFilter: Runner = (context) => {
  const filtered = filterLogits(context.tensor('logits'), settingsOf(context));
  const keptCount = filtered.gt(Number.NEGATIVE_INFINITY).to('int64').sum([-1]);
  const { rows } = context.golden.outputs.filtered!;
  return { filtered: rows === undefined ? filtered : stack(rows.map((row) => filtered.select(0, row))), keptCount };
};

export const logitProbs: Runner = (context) => {
  const probs = filterLogits(context.tensor('logits'), settingsOf(context)).softmax(-1);
  const { rows } = context.golden.outputs.probs!;
  return { probs: rows === undefined ? probs : stack(rows.map((row) => probs.select(0, row))) };
};
