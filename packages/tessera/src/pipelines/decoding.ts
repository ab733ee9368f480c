/**
 * What an autoregressive generation works in: the cache of keys and values, the tokens, and the recorded steps, which hold
 * the addresses of both. Recording costs a few steps for each reach, so a model keeps the last one that recorded something,
 * idle, for a generation of the same kind: as many slots and tokens, the same settings and noise. Any other kind frees it
 * first, for the cache is large; so do changes of the weights' form, and the end of a run (forgetDecoding).
 */

import type { AutoregressiveSettings } from '@tessera/schedule';
import { keep, noGrad, scope, type Tensor, zeros } from '@tessera/torch';
import type { AutoregressiveModel, AutoregressiveSession, GeneratorModel } from '../models/family.ts';
import { type DeviceNoise, RecordedDecoding } from './recorded-decoding.ts';

export interface DecodingOptions {
  slots: number;
  /** Tokens an image. */
  numTokens: number;
  guided: boolean;
  /** What recorded steps need; undefined: none are recorded. */
  recording: { settings: AutoregressiveSettings; noise: DeviceNoise; noiseKey: string | undefined } | undefined;
}

export class Decoding {
  readonly session: AutoregressiveSession;
  /** Tokens picked so far, [slots, n] int64, on the model's device. */
  readonly tokens: Tensor;
  readonly recorded: RecordedDecoding | undefined;
  /** Generations of equal keys may follow one another in it; undefined: none may. */
  readonly key: string | undefined;

  constructor(model: AutoregressiveModel, { slots, numTokens, guided, recording }: DecodingOptions, key?: string) {
    this.key = key;
    this.session = model.startSession({ rows: guided ? 2 * slots : slots, maxTokens: numTokens });
    this.tokens = scope(() => keep(zeros([slots, numTokens], { dtype: 'int64', device: model.device })));
    this.recorded = recording && new RecordedDecoding(model, this.session, this.tokens, recording);
  }

  dispose(): void {
    this.recorded?.dispose();
    this.session.dispose();
    this.tokens.dispose();
  }
}

/** The model's idle one where it is of this kind, else a new one. Rows and slots are then begun by the generation. */
export function takeDecoding(model: AutoregressiveModel, options: DecodingOptions): Decoding {
  const { slots, numTokens, recording } = options;
  const key =
    recording?.noiseKey === undefined
      ? undefined
      : JSON.stringify([slots, numTokens, recording.settings, recording.noiseKey]);
  const idle = idleOf(model);
  if (idle !== undefined && idle.key === key) {
    model.companions.delete(idle);
    noGrad(() => scope(() => void idle.tokens.zero_()));
    return idle;
  }
  forgetDecoding(model);
  return new Decoding(model, options, key);
}

/** A generation is over: its decoding waits with the model for the next, or is freed. */
export function leaveDecoding(model: AutoregressiveModel, decoding: Decoding): void {
  if (decoding.key === undefined) {
    decoding.dispose();
    return;
  }
  forgetDecoding(model);
  model.companions.add(decoding);
}

/** Frees what waits with a model. */
export function forgetDecoding(model: GeneratorModel): void {
  const idle = idleOf(model);
  if (idle === undefined) return;
  model.companions.delete(idle);
  idle.dispose();
}

function idleOf(model: GeneratorModel): Decoding | undefined {
  for (const companion of model.companions) if (companion instanceof Decoding) return companion;
  return undefined;
}
