/**
 * The loop of an autoregressive generator: the model predicts, the sampler picks, token after token. Written out here,
 * where it can be read and changed; models and samplers do not know each other.
 *
 * Slots draw images side by side, conditional rows first, then the unconditional ones of guidance. A slot whose image
 * is finished takes the next request at once; the rest go on where they are. Noise belongs to (seed, image, position,
 * code), so an image is the same in any slot, batch and order (design rule 3). Tokens stay on the device until asked for.
 */

import type { AutoregressiveSettings } from '@tessera/schedule';
import { keep, noGrad, scope, type Tensor, tensor, where } from '@tessera/torch';
import type { AutoregressiveModel, AutoregressiveSession, SequenceCondition } from '../models/family.ts';
import { beside, networkDevice } from '../nn/device.ts';
import { graphsByDefault } from '../nn/replay.ts';
import { guideLogits, isGuided, isTokenGuided, pickTokens } from '../sampling/autoregressive-sampler.ts';
import { type Decoding, leaveDecoding, takeDecoding } from './decoding.ts';
import { philoxNoise } from './noise-source.ts';
import type { DeviceNoise, RecordedDecoding } from './recorded-decoding.ts';

/** Exp(1) noise of one position of some images: [B, V] float32. */
export interface TokenNoise {
  exponential(images: readonly number[], positions: readonly number[], numCodes: number): Tensor;
  /** The same from tensors; without it steps are not recorded. */
  onDevice?: DeviceNoise;
  /** Noise of equal keys has equal values: generations may then share recorded steps. */
  key?: string;
}

/** Noise of design rule 3, step 0 of each position. */
export function philoxTokenNoise(seed: number): TokenNoise {
  return {
    key: `philox ${seed}`,
    exponential: (images, positions, numCodes) => {
      const at = tensor(
        positions.map((position) => [position]),
        'int64',
      );
      const device = networkDevice();
      return philoxNoise(seed, images).exponential(0, beside(at, { device }), numCodes).squeeze(1);
    },
    onDevice: (images, positions, numCodes) =>
      philoxNoise(seed, images).exponential(0, positions.unsqueeze(1), numCodes).squeeze(1),
  };
}

/** What an observer sees at each pick, valid during the call. */
export interface PickRecord {
  /** Index of each image in the run. */
  images: readonly number[];
  /** Token position of each, 0..n-1. */
  positions: readonly number[];
  /** After guidance, before temperature and filters: [B, V]. */
  logits: Tensor;
  /** [B] int64. */
  tokens: Tensor;
}

export interface AutoregressiveOptions {
  settings: AutoregressiveSettings;
  noise: TokenNoise;
  /** Images to draw, by their index in the run, in the order in which they begin. */
  images: readonly number[];
  /** Conditions of some of them, with the unconditional ones after them where asked for: [B or 2B, T, …]. */
  condition(images: readonly number[], guided: boolean): SequenceCondition;
  /** Images drawn at a time. */
  slots: number;
  /** Tokens an image; default: the model's whole grid. */
  maxTokens?: number | undefined;
  observe?: ((record: PickRecord) => void) | undefined;
  /** Steps as CUDA graphs; default: on GPUs where nobody observes, unless TESSERA_CUDA_GRAPHS=0. */
  graphs?: boolean | undefined;
}

/** An image whose last token has been picked. */
export interface FinishedImage {
  image: number;
  /** [n] int64, on the CPU; the caller's. */
  tokens: Tensor;
}

export class AutoregressiveGeneration {
  readonly numTokens: number;
  private readonly model: AutoregressiveModel;
  private readonly options: AutoregressiveOptions;
  private readonly decoding: Decoding;
  private readonly session: AutoregressiveSession;
  private readonly guided: boolean;
  private readonly slots: Slot[];
  /** Tokens picked so far, [slots, n] int64, on the model's device. */
  private readonly tokens: Tensor;
  private readonly waiting: number[];
  private readonly recorded: RecordedDecoding | undefined;

  constructor(model: AutoregressiveModel, options: AutoregressiveOptions) {
    this.model = model;
    this.options = options;
    this.numTokens = options.maxTokens ?? model.seqLen;
    this.guided = isGuided(options.settings);
    this.waiting = [...options.images];
    const count = Math.min(options.slots, this.waiting.length);
    if (count < 1) throw new RangeError('AutoregressiveGeneration: expected at least one slot and one image');
    this.slots = Array.from({ length: count }, () => ({ image: undefined, picked: 0 }));
    const { settings, noise, observe, graphs = graphsByDefault(model.device) } = options;
    this.decoding = takeDecoding(model, {
      slots: count,
      numTokens: this.numTokens,
      guided: this.guided,
      recording:
        graphs && observe === undefined && noise.onDevice !== undefined
          ? { settings, noise: noise.onDevice, noiseKey: noise.key }
          : undefined,
    });
    ({ session: this.session, tokens: this.tokens, recorded: this.recorded } = this.decoding);
  }

  /** Bytes of the stored keys and values. */
  get cacheBytes(): number {
    return this.session.cacheBytes;
  }

  get isDone(): boolean {
    return this.waiting.length === 0 && this.slots.every((slot) => slot.image === undefined);
  }

  /** Images under way: which, and how many of their tokens are there. */
  get progress(): { image: number; picked: number }[] {
    return this.slots.flatMap(({ image, picked }) => (image === undefined ? [] : [{ image, picked }]));
  }

  /** The tokens of an image under way, as far as they go. Waits for the device. */
  tokensOf(image: number): number[] {
    const at = this.slots.findIndex((slot) => slot.image === image);
    if (at < 0) throw new RangeError(`tokensOf: image ${image} is not under way`);
    return scope(() => this.tokens.select(0, at).narrow(0, 0, this.slots[at]!.picked).toNumbers());
  }

  /** The tokens in all slots, 0 where not known yet: [slots, n] int64, where the model is; the caller's. */
  snapshot(): Tensor {
    return scope(() => this.tokens.clone());
  }

  /** Picks one token of every image under way. Returns those that this finished. */
  step(): FinishedImage[] {
    noGrad(() =>
      scope(() => {
        const going = this.indices((slot) => slot.image !== undefined && slot.picked > 0);
        if (going.length > 0) this.continueSlots(going);
        if (this.waiting.length > 0) this.fillSlots();
      }),
    );
    return this.takeFinished();
  }

  dispose(): void {
    leaveDecoding(this.model, this.decoding);
  }

  private indices(holds: (slot: Slot) => boolean): number[] {
    return this.slots.flatMap((slot, i) => (holds(slot) ? [i] : []));
  }

  /** The first token of the next images in the slots that are free. */
  private fillSlots(): void {
    const free = this.indices((slot) => slot.image === undefined).slice(0, this.waiting.length);
    if (free.length === 0) return;
    const images = this.waiting.splice(0, free.length);
    for (const [i, slot] of free.entries()) this.slots[slot] = { image: images[i]!, picked: 0 };
    const condition = this.options.condition(images, this.guided);
    const rows = this.guided ? [...free, ...free.map((slot) => this.slots.length + slot)] : free;
    this.pick(free, this.session.begin(rows, condition), this.guided);
    this.recorded?.place(this.slots.map(({ image, picked }) => (image === undefined ? undefined : { image, picked })));
  }

  /** One more token of every image under way; a free slot's rows run along and are not read. */
  private continueSlots(going: readonly number[]): void {
    const { settings } = this.options;
    const count = this.slots.length;
    // Past the guided part no later token of an image needs the unconditional rows.
    const both = going.some((slot) => isTokenGuided(settings, this.slots[slot]!.picked));
    if (this.recorded !== undefined) {
      this.recorded.step(both, 1 + Math.max(...going.map((slot) => this.session.position(slot))));
      for (const slot of going) this.slots[slot]!.picked += 1;
      return;
    }
    const places = this.slots.map(({ picked }) => [Math.max(0, picked - 1)]);
    const last = this.tokens.gather(1, this.onDevice(tensor(places, 'int64'))).squeeze(1); // [slots]
    const logits = both ? this.session.step(last.repeat([2])) : this.session.step(last, count);
    if (going.length === count) {
      this.pick(going, logits, both);
      return;
    }
    const rows = both ? [...going, ...going.map((slot) => count + slot)] : [...going];
    this.pick(going, logits.indexSelect(0, this.onDevice(tensor(rows, 'int64'))), both);
  }

  /** Picks and stores a token for each of some slots: logits — [B, V], or [2B, V] with the unconditional ones. */
  private pick(slots: readonly number[], logits: Tensor, both: boolean): void {
    const { settings, noise, observe } = this.options;
    const count = slots.length;
    const images = slots.map((slot) => this.slots[slot]!.image!);
    const positions = slots.map((slot) => this.slots[slot]!.picked);
    const mixed = both ? this.guide(logits.narrow(0, 0, count), logits.narrow(0, count, count), positions) : logits;
    const exponential = settings.greedy
      ? undefined
      : this.onDevice(noise.exponential(images, positions, this.model.config.codebookSize));
    const picked = pickTokens(mixed, settings, exponential);
    this.tokens.indexPut_(
      [this.onDevice(tensor([...slots], 'int64')), this.onDevice(tensor(positions, 'int64'))],
      picked,
    );
    for (const slot of slots) this.slots[slot]!.picked += 1;
    observe?.({ images, positions, logits: mixed, tokens: picked });
  }

  private guide(cond: Tensor, uncond: Tensor, positions: readonly number[]): Tensor {
    const { settings } = this.options;
    const flags = positions.map((position) => [isTokenGuided(settings, position) ? 1 : 0]);
    const guided = guideLogits(cond, uncond, settings.guidanceScale);
    return flags.every(([flag]) => flag === 1) ? guided : where(this.onDevice(tensor(flags, 'bool')), guided, cond);
  }

  private takeFinished(): FinishedImage[] {
    const finished: FinishedImage[] = [];
    for (const [i, slot] of this.slots.entries()) {
      if (slot.image === undefined || slot.picked < this.numTokens) continue;
      finished.push({ image: slot.image, tokens: scope(() => keep(this.tokens.select(0, i).clone().to('cpu'))) });
      slot.image = undefined;
      slot.picked = 0;
      this.session.park(i);
      if (this.guided) this.session.park(this.slots.length + i);
    }
    return finished;
  }

  private onDevice(x: Tensor): Tensor {
    return beside(x, this.tokens);
  }
}

interface Slot {
  /** Index in the run; undefined when free. */
  image: number | undefined;
  /** Tokens picked. */
  picked: number;
}
