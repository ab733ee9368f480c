/**
 * A decoding step whose host values are all known: which rows stand where, which images they draw and which tokens they
 * have are tensors on the device, and the step moves them on itself. On a GPU it is recorded once for each length that
 * attention may reach (in pieces of 64 positions) and then replayed, one call a token (nn/replay.ts).
 */

import type { AutoregressiveSettings } from '@tessera/schedule';
import { full, keep, noGrad, scope, type Tensor, tensor, where } from '@tessera/torch';
import type { AutoregressiveModel, AutoregressiveSession } from '../models/family.ts';
import { beside } from '../nn/device.ts';
import { type Replay, replayable } from '../nn/replay.ts';
import { guideLogits, pickTokens } from '../sampling/autoregressive-sampler.ts';

/** Exp(1) noise of one position of each image, made where these are: images, positions — [B] int64; [B, V] float32. */
export type DeviceNoise = (images: Tensor, positions: Tensor, numCodes: number) => Tensor;

/** An image under way. */
export interface PlacedImage {
  image: number;
  /** Tokens that are there, at least 1. */
  picked: number;
}

export class RecordedDecoding {
  private readonly model: AutoregressiveModel;
  private readonly session: AutoregressiveSession;
  private readonly settings: AutoregressiveSettings;
  private readonly noise: DeviceNoise;
  /** [slots, n] int64, the generation's. */
  private readonly tokens: Tensor;
  /** Tokens that are there, of each slot: [slots] int64. */
  private readonly picked: Tensor;
  /** Their images: [slots] int64. */
  private readonly images: Tensor;
  private readonly replays = new Map<string, Replay<Record<string, never>>>();

  constructor(
    model: AutoregressiveModel,
    session: AutoregressiveSession,
    tokens: Tensor,
    { settings, noise }: { settings: AutoregressiveSettings; noise: DeviceNoise },
  ) {
    this.model = model;
    this.session = session;
    this.settings = settings;
    this.noise = noise;
    this.tokens = tokens;
    const make = (value: number): Tensor =>
      scope(() => keep(full([tokens.size(0)], value, { dtype: 'int64', device: model.device })));
    this.picked = make(1);
    this.images = make(0);
  }

  /** Says what the slots draw from here on; undefined for a free one. */
  place(slots: readonly (PlacedImage | undefined)[]): void {
    const values = (of: (slot: PlacedImage | undefined) => number): Tensor =>
      beside(tensor(slots.map(of), 'int64'), this.model);
    noGrad(() =>
      scope(() => {
        this.picked.copy_(values((slot) => slot?.picked ?? 1));
        this.images.copy_(values((slot) => slot?.image ?? 0));
      }),
    );
  }

  /**
   * One more token of every slot.
   *
   * @param both whether the unconditional rows run too
   * @param longest positions of the longest row with the new one
   */
  step(both: boolean, longest: number): void {
    const reach = this.session.reach(longest);
    const key = `${both} ${reach}`;
    noGrad(() =>
      scope(() => {
        let replay = this.replays.get(key);
        if (replay === undefined) {
          // Warming up is a step too: what it writes, the step itself writes again.
          const before = this.picked.clone();
          // Steps leave nothing behind in a recording's memory, so all work in that of the first.
          const memoryOf = this.replays.values().next().value;
          replay = replayable(this.model.device, () => this.body(both, reach), { memoryOf });
          this.picked.copy_(before);
          this.replays.set(key, replay);
        }
        replay.run();
      }),
    );
    this.session.advance(both ? 2 * this.picked.numel : this.picked.numel);
  }

  dispose(): void {
    for (const replay of this.replays.values()) replay.dispose();
    this.replays.clear();
    this.picked.dispose();
    this.images.dispose();
  }

  private body(both: boolean, reach: number): Record<string, never> {
    const { tokens, picked, session, settings } = this;
    const [count, numTokens] = tokens.shape as [number, number];
    const last = tokens.gather(1, picked.sub(1).unsqueeze(1)).squeeze(1); // [slots]
    const at = picked.add(session.capacity - numTokens); // the condition stands first
    const logits = both ? session.stepAt(last.repeat([2]), at.repeat([2]), reach) : session.stepAt(last, at, reach);
    const mixed = both ? this.guide(logits.narrow(0, 0, count), logits.narrow(0, count, count)) : logits;
    const { codebookSize } = this.model.config;
    const exponential = settings.greedy ? undefined : this.noise(this.images, picked, codebookSize);
    tokens.scatter_(1, picked.unsqueeze(1), pickTokens(mixed, settings, exponential).unsqueeze(1));
    // A free slot runs along: it must stay inside.
    picked.add_(1).clamp_(0, numTokens - 1);
    return {};
  }

  private guide(cond: Tensor, uncond: Tensor): Tensor {
    const { guidanceScale, guidedTokens } = this.settings;
    const guided = guideLogits(cond, uncond, guidanceScale);
    return guidedTokens === undefined ? guided : where(this.picked.le(guidedTokens).unsqueeze(1), guided, cond);
  }
}
