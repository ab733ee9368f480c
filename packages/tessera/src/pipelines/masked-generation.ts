/**
 * The loop of a masked generator: the model predicts, the sampler fixes tokens, step after step. Written out here, where
 * it can be read and changed; models and samplers do not know each other.
 *
 * Tensors of the state are owned by the generation until dispose(); each step runs in a scope of its own.
 */

import { forPartOf, haltonRanks, type ResolvedStep, remaskCount, resolveSteps, type Strategy } from '@tessera/schedule';
import { keep, noGrad, scope, Tensor, tensor } from '@tessera/torch';
import type { MaskedModel, MaskedSession, SessionPrediction } from '../models/family.ts';
import { beside } from '../nn/device.ts';
import { allMasked, type MaskedTokens, maskedStep, partlyMasked, type StepNoise } from '../sampling/masked-sampler.ts';
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
  /** Class of each image: 0..numClasses-1, or the null label. As a tensor, [B] int64 on the model's device, not checked. */
  labels: readonly number[] | Tensor;
  noise: NoiseSource;
  /** Tokens known from the start; default: none. */
  start?: KnownTokens | undefined;
  observe?: (record: StepRecord) => void;
  /** The first step's prediction where everything is masked then, in the caller's scope: see Openings. Default: made here. */
  opening?: ((guided: boolean) => SessionPrediction) | undefined;
  /** Of a fixed order, from `orderRanks`; default: made here. */
  ranks?: Tensor | undefined;
  /** See StepSettings. */
  ties?: 'ragged' | 'report' | undefined;
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
  private readonly ownsRanks: boolean;
  private state: MaskedTokens;
  private tied: Tensor | undefined;
  private done = 0;

  constructor(model: MaskedModel, options: GenerationOptions) {
    this.model = model;
    this.options = options;
    const { labels, start } = options;
    const batch = labels instanceof Tensor ? labels.size(0) : labels.length;
    this.count = start === undefined ? model.seqLen : checkedCount(model, start, batch);
    this.strategy = forPartOf(options.strategy, this.count, model.seqLen);
    this.steps = resolveSteps(this.strategy, this.count);
    this.numSteps = this.steps.length;
    this.lastGuided = this.steps.findLastIndex((step) => step.guidanceScale !== 1);
    this.session = scope(() => model.startSession(labelTensor(model, labels), this.lastGuided >= 0));
    this.state = scope(() => keepState(startState(model, batch, start, this.count)));
    this.ranks = options.ranks ?? orderRanks(model, options.strategy);
    this.ownsRanks = options.ranks === undefined;
  }

  /** Steps taken so far. */
  get stepsDone(): number {
    return this.done;
  }

  get isDone(): boolean {
    return this.done === this.numSteps || this.state.masked === undefined;
  }

  /** With `ties: 'report'`, whether some step so far had ties: a bool scalar, borrowed; undefined where none could. */
  get hadTies(): Tensor | undefined {
    return this.tied;
  }

  /** Takes one step and returns all tokens as sampled by it, [B, L] int64, owned by the caller. */
  step(): Tensor {
    const step = this.done++;
    const settings = this.steps[step]!;
    const { model, session, options, state } = this;
    const { next, sampled, tied } = noGrad(() =>
      scope(() => {
        const prediction = this.predict(step);
        const [cond, uncond] = [prediction.cond.to('float32'), prediction.uncond?.to('float32')];
        const logits = { cond, uncond, guidanceScale: settings.guidanceScale };
        const remaskCount = this.remaskCount(step);
        // Ties make masks ragged, which a model of rectangular parts cannot take: there they are broken by position.
        const remask = model.takesRaggedMasks ? this.strategy.remask : 'sort';
        const { ties = 'ragged' } = options;
        const stepSettings = { ...settings, remaskCount, remask, ties };
        const result = maskedStep(state, logits, stepSettings, this.noise(step, remaskCount), model.maskToken);
        options.observe?.({ step, settings, input: state, prediction, session, sampled: result.sampled });
        const before = this.tied;
        const tied = result.tied === undefined ? before : (before?.logicalOr(result.tied) ?? result.tied);
        return { sampled: result.sampled, next: keepState(result.next), tied };
      }),
    );
    disposeState(this.state);
    this.state = next;
    if (tied !== this.tied) {
      this.tied?.dispose();
      this.tied = keep(tied!);
    }
    return sampled;
  }

  private predict(step: number): SessionPrediction {
    const { session, state, options } = this;
    const guided = this.steps[step]!.guidanceScale !== 1;
    const blank = step === 0 && options.start === undefined;
    if (blank && options.opening !== undefined) return options.opening(guided);
    const input = { tokens: state.tokens, masked: state.masked!, fresh: state.fresh, blank };
    return session.predict(input, guided ? 'now' : step < this.lastGuided ? 'later' : 'done');
  }

  dispose(): void {
    this.session.dispose();
    if (this.ownsRanks) this.ranks?.dispose();
    this.tied?.dispose();
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
    const exponential =
      noise.address?.(step, masked) ?? beside(noise.exponential(step, masked, model.config.codebookSize), masked);
    if (remasked === 0 || ranks !== undefined) return { exponential, ranks };
    return { exponential, gumbel: beside(noise.gumbel(step, model.seqLen), masked).gather(1, masked) };
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

/** [B] int64 on the model's device. */
function labelTensor(model: MaskedModel, labels: readonly number[] | Tensor): Tensor {
  if (labels instanceof Tensor) return labels;
  checkLabels(model, labels);
  return beside(tensor([...labels], 'int64'), model);
}

/** Rank of each position where a strategy has a fixed order, [L] float32 on the model's device; the caller's. */
export function orderRanks(model: MaskedModel, { order }: Strategy): Tensor | undefined {
  if (order !== 'halton') return undefined;
  return scope(() => keep(beside(tensor(Array.from(haltonRanks(model.config.gridSize))), model)));
}

function startState(
  { seqLen, maskToken, device }: MaskedModel,
  batch: number,
  start: KnownTokens | undefined,
  count: number,
): MaskedTokens {
  if (start === undefined) return allMasked(batch, seqLen, maskToken, device);
  const tokens = beside(tensor(start.tokens.flat(), 'int64'), { device });
  const mask = beside(tensor(start.mask.flat().map(Number)), { device }).to('bool');
  return partlyMasked(tokens.view([batch, seqLen]), mask.view([batch, seqLen]), count, maskToken);
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
