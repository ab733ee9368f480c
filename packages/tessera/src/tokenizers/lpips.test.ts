import { gradients, manualSeed, noGrad, rand, scope, setNumThreads, type Tensor } from '@tessera/torch';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { initialise } from '../nn/module.ts';
import { Lpips, loadLpips } from './lpips.ts';

setNumThreads(1); // Tiny pictures: a second thread only waits.

let network: Lpips;
beforeAll(() => {
  manualSeed(4);
  network = initialise((p) => new Lpips(p));
});
afterAll(() => network.dispose());

test('is 0 for equal pictures, grows with the difference, and is a distance a picture', () =>
  scope(() => {
    const images = noGrad(() => rand([2, 3, 16, 16]).mul(2).sub(1));
    const other = noGrad(() => rand([2, 3, 16, 16]).mul(2).sub(1)).requiresGrad_();
    const at = (share: number): number[] => noGrad(() => network.distance(images, images.lerp(other, share)).flatten().toNumbers()); // biome-ignore format: one row
    expect(network.distance(images, images).shape).toEqual([2, 1, 1, 1]);
    expect(at(0)).toEqual([0, 0]);
    for (const i of [0, 1]) {
      expect(at(0.2)[i]!).toBeGreaterThan(0);
      expect(at(0.8)[i]!).toBeGreaterThan(at(0.2)[i]!);
    }
    const [gradient] = gradients([network.distance(images, other).sum()], [other]);
    expect(gradient!.abs().sum().item()).toBeGreaterThan(0);
  }));

test('equal pictures have a gradient of 0, not of NaN', () =>
  scope(() => {
    const images = noGrad(() => rand([1, 3, 16, 16])).requiresGrad_();
    const [gradient] = gradients([network.distance(images.detach().zerosLike(), images.mul(0)).sum()], [images]);
    expect(gradient!.toNumbers().every((value) => value === 0)).toBe(true);
  }));

test('reads the names of both official files, and says which is missing', () =>
  scope(() => {
    const renamed = [...network.state].map(([name, value]): [string, Tensor] => [
      name.replace(/^features/, 'net.slice1'),
      value,
    ]);
    const loaded = loadLpips(new Map([...renamed, ['classifier.0.weight', rand([1])]]), 'files');
    expect([...loaded.state.keys()]).toEqual([...network.state.keys()]);
    const [a, b] = [rand([1, 3, 16, 16]), rand([1, 3, 16, 16])];
    expect(noGrad(() => loaded.distance(a, b).equal(network.distance(a, b)))).toBe(true);
    loaded.dispose();
    const only = (prefix: string) => new Map([...network.state].filter(([name]) => name.startsWith(prefix)));
    expect(() => loadLpips(only('features'), 'a.pth')).toThrow('a.pth: expected VGG16 and the maps of LPIPS; the maps of LPIPS v0.1 (vgg.pth) is missing'); // biome-ignore format: one row
    expect(() => loadLpips(only('lin'), 'b.pth')).toThrow("torchvision's VGG16 (vgg16-397923af.pth) is missing");
    const short = new Map([...network.state].filter(([name]) => name !== 'lin2.model.1.weight'));
    expect(() => loadLpips(short, 'c.pth')).toThrow('lin2.model.1.weight');
  }));
