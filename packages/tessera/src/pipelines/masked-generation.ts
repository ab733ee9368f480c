/**
 * The loop of a masked generator: the model predicts, the sampler fixes tokens, step after step. Written out here, where
 * it can be read and changed; models and samplers do not know each other.
 *
 * Tensors of the state are owned by the generation until dispose(); each step runs in a scope of its own.
 */

import { type ResolvedStep, resolveSteps, type Strategy } from '@tessera/schedule';
import { keep, noGrad, scope, type Tensor, tensor } from '@tessera/torch';
import type { MaskedModel, MaskedSession, SessionPrediction } from '../models/family.ts';
import { allMasked, guide, type MaskedTokens, maskedStep } from '../sampling/masked-sampler.ts';
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
  observe?: (record: StepRecord) => void;
}

export class MaskedGeneration implements TokenGeneration {
  readonly numSteps: number;
  private readonly model: MaskedModel;
  private readonly options: GenerationOptions;
  private readonly steps: ResolvedStep[];
  private readonly session: MaskedSession;
  private state: MaskedTokens;
  private done = 0;

  constructor(model: MaskedModel, options: GenerationOptions) {
    this.model = model;
    this.options = options;
    this.steps = resolveSteps(options.strategy, model.seqLen);
    this.numSteps = this.steps.length;
    const labels = tensor([...options.labels], 'int64');
    this.session = model.startSession(labels, this.lastGuided() >= 0);
    labels.dispose();
    this.state = scope(() => keepState(allMasked(options.labels.length, model.seqLen, model.maskToken)));
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
    const last = step === this.numSteps - 1;
    const settings = this.steps[step]!;
    const { model, session, options, state } = this;
    const masked = state.masked!;
    const { next, sampled } = noGrad(() =>
      scope(() => {
        const prediction = session.predict(
          { tokens: state.tokens, masked, fresh: state.fresh },
          settings.guidanceScale !== 1 ? 'now' : step < this.lastGuided() ? 'later' : 'done',
        );
        const { cond, uncond } = prediction;
        const logits = uncond === undefined ? cond : guide(cond, uncond, settings.guidanceScale);
        const exponential = options.noise.exponential(step, masked, logits.size(2));
        const gumbel = options.noise.gumbel(step, model.seqLen).gather(1, masked);
        // Re-masking after the last step would have no effect on the image.
        const settled = last ? { ...settings, remaskCount: 0 } : { ...settings, remaskCount: settings.remasked };
        const result = maskedStep(state, logits, settled, exponential, gumbel, model.maskToken);
        options.observe?.({
          step,
          settings,
          input: state,
          prediction,
          session,
          sampled: result.sampled,
        });
        return { sampled: result.sampled, next: keepState(result.next) };
      }),
    );
    disposeState(this.state);
    this.state = next;
    return sampled;
  }

  dispose(): void {
    this.session.dispose();
    disposeState(this.state);
  }

  private lastGuided(): number {
    return this.options.strategy.steps.findLastIndex((step) => step.guidanceScale !== 1);
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

function tensorsOf(state: MaskedTokens): Tensor[] {
  return [state.tokens, state.masked, state.fresh].filter((item) => item !== undefined);
}

function keepState(state: MaskedTokens): MaskedTokens {
  // Fresh handles: one tensor may stand in two fields, or be the step's result as well.
  const own = (x: Tensor): Tensor => keep(x.detach());
  return {
    tokens: own(state.tokens),
    masked: state.masked === undefined ? undefined : own(state.masked),
    fresh: state.fresh === undefined ? undefined : own(state.fresh),
  };
}

function disposeState(state: MaskedTokens): void {
  for (const item of tensorsOf(state)) item.dispose();
}
