/**
 * The loop of a masked generator: the model predicts, the sampler fixes tokens, step after step. Written out here, where
 * it can be read and changed; models and samplers do not know each other.
 *
 * Tensors of the state are owned by the generation until dispose(); each step runs in a scope of its own.
 */

import { forPartOf, haltonRanks, type ResolvedStep, remaskCount, resolveSteps, type Strategy } from '@tessera/schedule';
import { keep, noGrad, scope, type Tensor, tensor } from '@tessera/torch';
import type { MaskedModel, MaskedSession, SessionPrediction } from '../models/family.ts';
import {
  allMasked,
  guide,
  type MaskedTokens,
  maskedStep,
  partlyMasked,
  type StepNoise,
} from '../sampling/masked-sampler.ts';
import { PipelineError } from './events.ts';
import type { NoiseSource } from './noise-source.ts';
import type { TokenGeneration } from './token-generation.ts';

/** What an observer sees after each step, valid during the call. */
export interface StepRecord {
  step: number;
  settings: ResolvedStep;
  /** The step's input: tokens [B, L], the mask token where masked. */
  input: MaskedTokens;
  prediction: SessionPrediction;
  session: MaskedSession;
  /** Every position filled: [B, L]. */
  sampled: Tensor;
}

export interface GenerationOptions {
  strategy: Strategy;
  /** Class of each image: 0..numClasses-1, or the null label. */
  labels: readonly number[];
  noise: NoiseSource;
  /** Tokens known from the start; default: none. */
  start?: KnownTokens | undefined;
  observe?: (record: StepRecord) => void;
}

/** Tokens to keep, as [B, L] of numbers. */
export interface KnownTokens {
  tokens: readonly (readonly number[])[];
  /** True where a token is to be made; equally many in each image. */
  mask: readonly (readonly boolean[])[];
}

export class MaskedGeneration implements TokenGeneration {
  readonly numSteps: number;
  private readonly model: MaskedModel;
  private readonly options: GenerationOptions;
  private readonly strategy: Strategy;
  /** Tokens to make of each image. */
  private readonly count: number;
  private readonly steps: ResolvedStep[];
  private readonly lastGuided: number;
  private readonly session: MaskedSession;
  /** Rank of each position, where a fixed order decides: [L] float32. */
  private readonly ranks: Tensor | undefined;
  private state: MaskedTokens;
  private done = 0;

  constructor(model: MaskedModel, options: GenerationOptions) {
    this.model = model;
    this.options = options;
    const { labels, start } = options;
    this.count = start === undefined ? model.seqLen : checkedCount(model, start, labels.length);
    this.strategy = forPartOf(options.strategy, this.count, model.seqLen);
    this.steps = resolveSteps(this.strategy, this.count);
    this.numSteps = this.steps.length;
    this.lastGuided = this.steps.findLastIndex((step) => step.guidanceScale !== 1);
    checkLabels(model, labels);
    const labelTensor = tensor([...labels], 'int64');
    this.session = model.startSession(labelTensor, this.lastGuided >= 0);
    labelTensor.dispose();
    this.state = scope(() => keepState(startState(model, labels.length, start, this.count)));
    if (this.strategy.order === 'halton') {
      this.ranks = tensor(Array.from(haltonRanks(model.config.gridSize)));
    }
  }

  /** Steps taken so far. */
  get stepsDone(): number {
    return this.done;
  }

  get isDone(): boolean {
    return this.done === this.numSteps || this.state.masked === undefined;
  }

  /** Takes one step and returns all tokens as sampled by it, [B, L] int64, owned by the caller. */
  step(): Tensor {
    const step = this.done++;
    const settings = this.steps[step]!;
    const { model, session, options, state } = this;
    const { next, sampled } = noGrad(() =>
      scope(() => {
        const prediction = session.predict(
          { tokens: state.tokens, masked: state.masked!, fresh: state.fresh },
          settings.guidanceScale !== 1 ? 'now' : step < this.lastGuided ? 'later' : 'done',
        );
        const { cond, uncond } = prediction;
        const logits = uncond === undefined ? cond : guide(cond, uncond, settings.guidanceScale);
        const remaskCount = this.remaskCount(step);
        // Ties make masks ragged, which a model of rectangular parts cannot take: there they are broken by position.
        const remask = model.takesRaggedMasks ? this.strategy.remask : 'sort';
        const stepSettings = { ...settings, remaskCount, remask };
        const result = maskedStep(state, logits, stepSettings, this.noise(step, remaskCount), model.maskToken);
        options.observe?.({ step, settings, input: state, prediction, session, sampled: result.sampled });
        return { sampled: result.sampled, next: keepState(result.next) };
      }),
    );
    disposeState(this.state);
    this.state = next;
    return sampled;
  }

  dispose(): void {
    this.session.dispose();
    this.ranks?.dispose();
    disposeState(this.state);
  }

  /** Masking again after the last step would have no effect on the image. */
  private remaskCount(step: number): number {
    if (step === this.numSteps - 1) return 0;
    return remaskCount(this.strategy, step, this.state.firstCount, this.count);
  }

  private noise(step: number, remasked: number): StepNoise {
    const { model, ranks } = this;
    const { noise } = this.options;
    const masked = this.state.masked!;
    const exponential = noise.exponential(step, masked, model.config.codebookSize);
    if (remasked === 0 || ranks !== undefined) return { exponential, ranks };
    return { exponential, gumbel: noise.gumbel(step, model.seqLen).gather(1, masked) };
  }
}

/** Runs all steps; returns tokens [B, L] int64, owned by the caller's scope. */
export function generateTokens(model: MaskedModel, options: GenerationOptions): Tensor {
  const generation = new MaskedGeneration(model, options);
  try {
    let tokens = generation.step();
    while (!generation.isDone) {
      tokens.dispose();
      tokens = generation.step();
    }
    return tokens;
  } finally {
    generation.dispose();
  }
}

function startState(
  { seqLen, maskToken }: MaskedModel,
  batch: number,
  start: KnownTokens | undefined,
  count: number,
): MaskedTokens {
  if (start === undefined) return allMasked(batch, seqLen, maskToken);
  const tokens = tensor(start.tokens.flat(), 'int64').view([batch, seqLen]);
  const mask = tensor(start.mask.flat().map(Number)).view([batch, seqLen]).to('bool');
  return partlyMasked(tokens, mask, count, maskToken);
}

/** Tokens to make of each image. */
function checkedCount(model: MaskedModel, { tokens, mask }: KnownTokens, batch: number): number {
  const { seqLen, maskToken } = model;
  const wrong = [tokens, mask].find((rows) => rows.length !== batch || rows.some((row) => row.length !== seqLen));
  if (wrong !== undefined) {
    const got = `${wrong.length} rows of ${[...new Set(wrong.map((row) => row.length))].join(', ')}`;
    const what = wrong === mask ? 'a mask' : 'tokens';
    throw new PipelineError('MASK_SIZE', `Expected ${what} of ${batch} rows of ${seqLen} tokens, got ${got}.`);
  }
  const counts = new Set(mask.map((row) => row.filter((masked) => masked).length));
  const [count = 0] = counts;
  if (counts.size > 1) {
    throw new PipelineError(
      'MASK_SIZE',
      `Expected masks of one size in a batch, got ${[...counts].join(', ')} tokens.`,
    );
  }
  if (count === 0) throw new PipelineError('MASK_SIZE', 'Expected a mask with at least one token to make, got none.');
  const stranger = tokens.flat().find((token, i) => !mask.flat()[i] && !(token >= 0 && token < maskToken));
  if (stranger !== undefined) {
    throw new PipelineError('TOKENS', `Expected known tokens from 0 to ${maskToken - 1}, got ${stranger}.`);
  }
  return count;
}

function checkLabels({ nullLabel }: MaskedModel, labels: readonly number[]): void {
  const wrong = labels.find((label) => !(Number.isInteger(label) && label >= 0 && label <= nullLabel));
  if (wrong === undefined) return;
  throw new PipelineError(
    'UNKNOWN_CLASS',
    `Expected a class from 0 to ${nullLabel - 1}, or ${nullLabel} for none, got ${wrong}.`,
  );
}

const STATE_TENSORS = ['tokens', 'masked', 'fresh', 'real'] as const;

function keepState(state: MaskedTokens): MaskedTokens {
  const kept = { ...state };
  for (const name of STATE_TENSORS) {
    const held = state[name];
    // Fresh handles: one tensor may stand in two fields, or be the step's result as well.
    if (held !== undefined) kept[name] = keep(held.detach());
  }
  return kept;
}

function disposeState(state: MaskedTokens): void {
  for (const name of STATE_TENSORS) state[name]?.dispose();
}
