import { DrawPurpose, Draws } from '@tessera/schedule';
import { fromTypedArray, keep, memoryStats, noGrad, scope, setNumThreads, type Tensor } from '@tessera/torch';
import { afterEach, describe, expect, it } from 'vitest';
import { type VqConfigInput, vqPreset } from '../tokenizers/vq-config.ts';
import { Ranks } from './ranks.ts';
import type { Shard } from './task.ts';
import { createVqTask, type TrainingImages, type VqTask, type VqTaskOptions } from './vq-task.ts';

setNumThreads(1); // Tiny pictures: a second thread only waits.

const TINY: Partial<VqConfigInput> = { channels: 8, channelMultipliers: [1, 2], latentChannels: 8, codebookSize: 16, codeDim: 4, encoderResBlocks: 1, decoderResBlocks: 1, groupNormGroups: 2 }; // biome-ignore format: one row
const config = vqPreset('vq-small', TINY);

/** Discs of different colours on white. */
function pictures(count: number, side = 8): TrainingImages {
  const pixels = new Uint8Array(count * side * side * 3).fill(255);
  for (let i = 0; i < count; i++) {
    for (let p = 0; p < side * side; p++) {
      const [y, x] = [Math.floor(p / side) - 3, (p % side) - 4];
      if (y * y + x * x < 4 + i)
        for (let c = 0; c < 3; c++) pixels[(i * side * side + p) * 3 + c] = (i * 40 + c * 90) % 256;
    }
  }
  return { pixels, height: side, width: side };
}

const ALONE = new Ranks();

const made: VqTask[] = [];
function make(options: Partial<VqTaskOptions> = {}): VqTask {
  const task = createVqTask({ config, images: pictures(12), heldOut: pictures(5), seed: 0, ...options });
  made.push(task);
  task.model.trainable();
  return task;
}
afterEach(() => {
  for (const task of made.splice(0)) task.dispose();
});

const drawsOf =
  (step: number, index = 0) =>
  (purpose: number) =>
    new Draws(5, step, index, purpose);
const shard = (step: number, items: number[]): Shard => ({
  step,
  index: 0,
  items,
  draws: drawsOf(step),
  dropoutSeed: 0,
});

/** Steps of plain gradient descent with momentum 0. */
function train(task: VqTask, steps: number, rate = 0.1): number[] {
  return Array.from({ length: steps }, (_, step) => {
    const loss = scope(() => {
      const result = task.shardLoss(shard(step, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]));
      result.loss.backward();
      noGrad(() => {
        for (const p of task.model.parameters.values()) if (p.grad) p.sub_(p.grad, { alpha: rate });
      });
      task.model.clearGradients();
      return result.loss.item();
    });
    task.ema.copyFrom(task.model);
    task.afterStep!(step, drawsOf(step), [task.ema.state], ALONE);
    return loss;
  });
}

/** [N, 3, Y, X] in [-1, 1]. */
function inRange({ pixels, height, width }: TrainingImages): Tensor {
  const values = Float32Array.from(pixels, (value) => value / 127.5 - 1);
  return fromTypedArray(values, [pixels.length / (3 * height * width), height, width, 3])
    .permute([0, 3, 1, 2])
    .contiguous();
}

const bytes = (tensor: Tensor): number[] => Array.from(tensor.toBytes());

describe('createVqTask', () => {
  it('learns: the loss falls and the held-out PSNR rises', () => {
    const task = make();
    const before = task.evaluate!();
    const losses = train(task, 30);
    expect(losses.at(-1)!).toBeLessThan(0.7 * losses[0]!);
    const after = task.evaluate!();
    expect(after.psnr!).toBeGreaterThan(before.psnr! + 1);
    expect(after.psnr!).toBeGreaterThanOrEqual(after.psnrOfMeanError!);
    expect(after.perplexity!).toBeLessThanOrEqual(16 * after.codebookUsage! + 1e-9);
  });

  it('is a function of seed, step and shard', () => {
    const [a, b] = [
      make({ seed: 9, recipe: { horizontalFlip: true } }),
      make({ seed: 9, recipe: { horizontalFlip: true } }),
    ];
    expect(train(a, 4)).toEqual(train(b, 4));
    for (const [name, tensor] of a.model.state) expect(bytes(tensor), name).toEqual(bytes(b.model.state.get(name)!));
    expect(train(make({ seed: 8, recipe: { horizontalFlip: true } }), 1)).not.toEqual(train(make({ seed: 9 }), 1));
  });

  it('adds the losses as the recipe weighs them', () => {
    const value = (recipe: VqTaskOptions['recipe']): number =>
      scope(() =>
        make({ recipe })
          .shardLoss(shard(0, [1, 2]))
          .loss.item(),
      );
    const only = { l2Weight: 0, l1Weight: 0, codebookWeight: 0 };
    const [l2, l1, codes] = [value({ ...only, l2Weight: 1 }), value({ ...only, l1Weight: 1 }), value({ ...only, codebookWeight: 1 })]; // biome-ignore format: three of a kind
    expect(value({ l2Weight: 2, l1Weight: 3, codebookWeight: 0.5 })).toBeCloseTo(2 * l2 + 3 * l1 + 0.5 * codes, 5);
  });

  it('mirrors images only when asked, and by the draws', () => {
    const seen = (horizontalFlip: boolean, step: number): number =>
      scope(() =>
        make({ recipe: { horizontalFlip } })
          .shardLoss(shard(step, [3]))
          .loss.item(),
      );
    expect(seen(false, 0)).toBe(seen(false, 1));
    const flipped = [0, 1, 2, 3, 4, 5].map((step) => drawsOf(step)(DrawPurpose.AUGMENT).coin(0.5));
    const losses = [0, 1, 2, 3, 4, 5].map((step) => seen(true, step));
    expect(new Set(flipped).size).toBe(2);
    for (const [step, flip] of flipped.entries()) expect(losses[step] === seen(false, 0)).toBe(!flip);
  });
});

describe('with a discriminator', () => {
  const adversarial: VqTaskOptions['recipe'] = {
    discriminator: { kind: 'patchgan', baseChannels: 4, numLayers: 1 },
    discriminatorStart: 2,
  };

  it('trains both from the start step on, each by its own loss', () => {
    const task = make({ recipe: adversarial });
    const [part] = task.parts!;
    expect([part!.name, part!.model.parameters.size]).toEqual(['discriminator', 7]);
    const result = (step: number) => scope(() => {
      const { partLosses, metrics } = task.shardLoss(shard(step, [1, 2, 3]));
      return { judged: partLosses?.discriminator?.item(), names: Object.keys(metrics) };
    }); // biome-ignore format: a few rows
    expect(result(0).judged).toBeUndefined();
    expect(result(0).names).toEqual(['reconstruction', 'codebook', 'commitment']);
    expect(result(1).judged).toBeGreaterThan(0);
    expect(result(1).names).toContain('weightedAdversarial');
  });

  it('starts the tokenizer from the same weights as without', () => {
    const [a, b] = [make({ seed: 4 }), make({ seed: 4, recipe: adversarial })];
    for (const [name, tensor] of a.model.state) expect(bytes(b.model.state.get(name)!), name).toEqual(bytes(tensor));
  });
});

it('tells the share of codes among the last tokens', () => {
  const task = make();
  const usage = (): number => scope(() => (task.observe!(task.shardLoss(shard(0, [0, 1, 2])).observed!).codebookUsage as Tensor).item()); // biome-ignore format: one row
  const used = noGrad(() => scope(() => new Set(task.model.quantizer.tokens(task.model.encodeToLatent(inRange(pictures(3)))).toNumbers()))); // biome-ignore format: one row
  expect(usage()).toBeCloseTo(used.size / 16, 6);
  expect(usage()).toBeCloseTo(used.size / 16, 6);
  expect(task.memory!.get('recentTokens')!.ne(-1).sum().item()).toBe(2 * 3 * 16);
});

describe('revival of dead codes', () => {
  const far = (task: VqTask): void =>
    noGrad(() => scope(() => void task.model.quantizer.table.narrow(0, 2, 14).fill_(1e3)));

  it('moves codes that nothing uses onto latents of training images, in both networks', () => {
    const task = make({ config: vqPreset('vq-small', { ...TINY, l2Norm: false }) });
    far(task);
    task.afterStep!(0, drawsOf(0), [task.ema.state], ALONE);
    const rows = task.model.quantizer.table.toNumbers();
    expect(Math.max(...rows.map(Math.abs))).toBeLessThan(100);
    // Every moved code lies exactly on a latent: it is one of the rows, so its distance to the nearest is 0.
    const latents = noGrad(() => scope(() => task.model.encodeToLatent(inRange(pictures(12))).permute([0, 2, 3, 1]).contiguous().toNumbers())); // biome-ignore format: one row
    for (let code = 2; code < 16; code++) {
      const distances = Array.from({ length: latents.length / 4 }, (_, i) =>
        Math.hypot(...[0, 1, 2, 3].map((c) => latents[4 * i + c]! - rows[4 * code + c]!)),
      );
      expect(Math.min(...distances)).toBeLessThan(1e-5);
    }
    expect(task.ema.quantizer.table.toNumbers().slice(8)).toEqual(rows.slice(8));
  });

  it('keeps to its steps', () => {
    const task = make({
      config: vqPreset('vq-small', { ...TINY, l2Norm: false }),
      recipe: { reviveEvery: 3, reviveUntil: 6 },
    });
    for (const step of [1, 2, 6, 9]) {
      far(task);
      task.afterStep!(step, drawsOf(step), [task.ema.state], ALONE);
      expect(task.model.quantizer.table.amax().item()).toBe(1000);
    }
    task.afterStep!(3, drawsOf(3), [task.ema.state], ALONE);
    expect(task.model.quantizer.table.amax().item()).toBeLessThan(100);
  });

  it('gives every rank the codes of the first, whatever its own machine would find', () => {
    const said: Tensor[] = [];
    const first: Ranks = Object.assign(new Ranks(), {
      copyFromFirst: (tensors: readonly Tensor[]) => said.push(...tensors.map((one) => keep(one.clone()))),
    });
    const second: Ranks = Object.assign(new Ranks(), {
      rank: 1,
      copyFromFirst: (tensors: readonly Tensor[]) => tensors.forEach((one, i) => void one.copy_(said[i]!)),
    });
    const [one, other] = [make(), make()];
    // Another decoder of pictures, another kernel: other latents.
    noGrad(() => other.model.parameters.get('encoder.conv_in.weight')!.mul_(1.5));
    for (const [task, ranks] of [[one, first], [other, second]] as const) {
      far(task);
      task.afterStep!(0, drawsOf(0), [task.ema.state], ranks);
    } // biome-ignore format: a few rows
    expect(one.model.quantizer.table.toNumbers().slice(8)).not.toContain(1000);
    for (const { quantizer } of [other.model, other.ema]) expect(bytes(quantizer.table)).toEqual(bytes(one.model.quantizer.table)); // biome-ignore format: one row
    for (const tensor of said) tensor.dispose();
  });

  it('leaves live codes alone', () => {
    const task = make({ recipe: { deadBelow: 0 } });
    const used = noGrad(() => scope(() => new Set(task.model.quantizer.tokens(task.model.encodeToLatent(inRange(pictures(12)))).toNumbers()))); // biome-ignore format: one row
    const before = task.model.quantizer.table.toNumbers();
    task.afterStep!(0, drawsOf(0), [task.ema.state], ALONE);
    const after = task.model.quantizer.table.toNumbers();
    for (const code of used) expect(after.slice(4 * code, 4 * code + 4)).toEqual(before.slice(4 * code, 4 * code + 4));
  });
});

describe('evaluate', () => {
  it('is in dB of 8-bit values, and frees what it makes', () => {
    const task = make();
    const before = memoryStats().liveTensors;
    const { psnr, psnrOfMeanError } = task.evaluate!() as { psnr: number; psnrOfMeanError: number };
    expect(memoryStats().liveTensors).toBe(before);
    // Again by hand, from the pictures.
    const { pixels } = pictures(5);
    const got = noGrad(() => scope(() => task.ema.reconstruct(inRange(pictures(5)).add(1).div(2)).mul(255).round().permute([0, 2, 3, 1]).contiguous().toNumbers())); // biome-ignore format: one row
    const errors = Array.from({ length: 5 }, (_, i) => {
      let sum = 0;
      for (let j = i * 192; j < (i + 1) * 192; j++) sum += (got[j]! - pixels[j]!) ** 2;
      return sum / 192;
    });
    const decibels = errors.map((e) => 10 * Math.log10(65025 / e));
    expect(psnr).toBeCloseTo(decibels.reduce((a, b) => a + b) / 5, 3);
    expect(psnrOfMeanError).toBeCloseTo(10 * Math.log10(65025 / (errors.reduce((a, b) => a + b) / 5)), 3);
  });

  it('is missing without held-out images', () => {
    const task = createVqTask({ config, images: pictures(2) });
    made.push(task);
    expect(task.evaluate).toBeUndefined();
  });
});

it('refuses images of another size', () => {
  expect(() => make({ images: { pixels: new Uint8Array(100), height: 8, width: 8 } })).toThrow('whole images of 8·8·3 = 192 bytes, got 100'); // biome-ignore format: one row
  expect(() => make({ images: { pixels: new Uint8Array(147), height: 7, width: 7 } })).toThrow('multiples of 2');
});
