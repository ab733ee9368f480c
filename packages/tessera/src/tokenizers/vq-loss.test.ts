import { gradients, manualSeed, rand, scope, setNumThreads, tensor } from '@tessera/torch';
import { expect, test } from 'vitest';
import { initialise } from '../nn/module.ts';
import { PatchDiscriminator } from './patch-discriminator.ts';
import { VqLoss, type VqLossInput, vqLossSchema } from './vq-loss.ts';

setNumThreads(1); // Tiny pictures: a second thread only waits.

const CONFIG = { l1Weight: 0, discriminator: { kind: 'patchgan', baseChannels: 4, numLayers: 2 }, discriminatorStart: 3 } as const; // biome-ignore format: one row

function withNetworks(
  changes: Record<string, unknown>,
  body: (loss: VqLoss, input: VqLossInput, judge: PatchDiscriminator) => void,
) {
  scope(() => {
    manualSeed(2);
    const config = vqLossSchema.parse({ ...CONFIG, ...changes });
    const discriminator = initialise((p) => new PatchDiscriminator(p, CONFIG.discriminator)).trainable();
    const lastLayer = tensor([0.9]).requiresGrad_();
    const reconstruction = rand([2, 3, 16, 16]).mul(lastLayer);
    const codebook = { codebook: tensor(0.5), commitment: tensor(0.25) };
    const input = { images: rand([2, 3, 16, 16]), reconstruction, codebook, lastLayer };
    body(new VqLoss(config, { discriminator }), input, discriminator);
    discriminator.dispose();
  });
}

test('before its start the discriminator rests; from its step on it has its weight', () =>
  withNetworks({}, (loss, input, judge) => {
    const l2 = input.images.sub(input.reconstruction).square().mean().item();
    for (const step of [0, 1]) {
      expect(loss.ofTokenizer(input, step).loss.item()).toBeCloseTo(l2 + 0.75, 5);
      expect(loss.ofDiscriminator(input, step)).toBeUndefined();
    }
    expect(judge.state.get('main.3.num_batches_tracked')!.item()).toBe(0);
    const adversarial = loss.ofTokenizer(input, 2).metrics.weightedAdversarial;
    const fake = judge.forward(input.reconstruction, true).mean().item();
    expect((adversarial as typeof input.images).item()).toBeCloseTo(-0.5 * fake, 6);
  }));

test('exactOriginal runs it with a weight of 0', () =>
  withNetworks({ exactOriginal: true }, (loss, input, judge) => {
    expect(loss.ofDiscriminator(input, 0)!.loss.item()).toBe(0);
    expect(judge.state.get('main.3.num_batches_tracked')!.item()).toBe(2);
    expect(loss.ofTokenizer(input, 0).metrics).toHaveProperty('weightedAdversarial');
  }));

test("the discriminator's loss does not reach the reconstruction", () =>
  withNetworks({}, (loss, input, judge) => {
    const judged = loss.ofDiscriminator(input, 5)!.loss;
    const [ofTokenizer, ofJudge] = gradients([judged], [input.lastLayer, judge.state.get('main.0.weight')!]);
    expect(ofTokenizer).toBeUndefined();
    expect(ofJudge!.abs().sum().item()).toBeGreaterThan(0);
  }));

test('the adaptive weight makes both gradients equally long at the last layer', () =>
  withNetworks({ adaptiveWeight: true, codebookWeight: 0, adversarialWeight: 1 }, (loss, input) => {
    const { lastLayer } = input;
    const slope = (scalar: VqLossInput['images']): number =>
      gradients([scalar], [lastLayer], { retainGraph: true })[0]!.item();
    const whole = slope(loss.ofTokenizer(input, 5).loss);
    const alone = slope(input.images.sub(input.reconstruction).square().mean());
    const ratio = Math.abs(whole - alone) / Math.abs(alone);
    expect(ratio).toBeLessThanOrEqual(1);
    expect(ratio).toBeGreaterThan(0.5); // the 1e-4 under the quotient takes some of a small slope
  }));
