import { fullLike, manualSeed, noGrad, rand, scope, setNumThreads, type Tensor } from '@tessera/torch';
import { expect, test } from 'vitest';
import { initialise } from '../nn/module.ts';
import { PatchDiscriminator } from './patch-discriminator.ts';
import { StyleganBlock, StyleganDiscriminator } from './stylegan-discriminator.ts';

setNumThreads(1); // Tiny pictures: a second thread only waits.

const patch = (baseChannels = 4, numLayers = 2): PatchDiscriminator => {
  manualSeed(1);
  return initialise((p) => new PatchDiscriminator(p, { baseChannels, numLayers }));
};

test('the released PatchGAN has its 2,765,633 parameters and its names', () => {
  const network = patch(64, 3);
  expect(network.numParameters).toBe(2_765_633);
  const places = [...network.parameters.keys()].filter((name) => name.endsWith('.weight'));
  expect(places).toEqual([0, 2, 3, 5, 6, 8, 9, 11].map((place) => `main.${place}.weight`));
  expect([...network.state.keys()]).toContain('main.9.num_batches_tracked');
  network.dispose();
});

test('a batch is normalised by itself in training, by the running statistics otherwise', () =>
  noGrad(() =>
    scope(() => {
      const network = patch();
      const images = rand([4, 3, 16, 16]);
      const first = images.narrow(0, 0, 2);
      const judged = (x: Tensor, training: boolean): Tensor => network.forward(x, training).narrow(0, 0, 2);
      const mean = network.state.get('main.3.running_mean')!;
      expect(judged(images, false).allclose(judged(first, false))).toBe(true);
      expect(mean.abs().sum().item()).toBe(0);
      expect(judged(images, true).allclose(judged(first, true))).toBe(false);
      expect(mean.abs().sum().item()).toBeGreaterThan(0);
      expect(network.state.get('main.3.num_batches_tracked')!.item()).toBe(2);
      network.dispose();
    }),
  ));

test("StyleGAN's discriminator gives a logit a picture, for its size alone", () =>
  noGrad(() =>
    scope(() => {
      manualSeed(1);
      const make = (side: number) => initialise((p) => new StyleganDiscriminator(p, { side, channelMultiplier: 1 }));
      const network = make(8);
      expect(network.forward(rand([2, 3, 8, 8])).shape).toEqual([2, 1]);
      expect([...network.state.keys()].filter((name) => name.startsWith('blocks.2.net'))).toHaveLength(4);
      expect(() => network.forward(rand([2, 3, 16, 16]))).toThrow('made for 8 pixels a side, got 16×16');
      expect(() => make(24)).toThrow('a power of two from 8 to 1024 pixels a side, got 24');
      network.dispose();
    }),
  ));

test('the blur keeps a flat picture and spreads a point by 1 2 1', () =>
  noGrad(() =>
    scope(() => {
      let block: StyleganBlock | undefined;
      const module = initialise((p) => {
        const network = new PatchDiscriminator(p.child('unused'), { baseChannels: 1, numLayers: 1 });
        block = new StyleganBlock(p.child('block'), 2, 2);
        return network;
      });
      const flat = fullLike(rand([1, 2, 4, 4]), 3);
      expect(block!.blur(flat).allclose(flat)).toBe(true);
      const point = rand([1, 1, 5, 5]).zerosLike();
      point.select(2, 2).select(2, 2).fill_(16);
      const row = block!.blur(point).select(2, 2).flatten().toNumbers();
      expect(row.map((value) => Math.round(value * 1e5) / 1e5)).toEqual([0, 2, 4, 2, 0]);
      module.dispose();
    }),
  ));
