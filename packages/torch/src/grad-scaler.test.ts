/** Loss scaling against the rule of torch.amp.GradScaler, step by step. */

import { expect, it } from 'vitest';
import * as T from './index.ts';

it('scales the loss, unscales gradients, leaves out what overflowed, and moves the scale', () => {
  const before = T.memoryStats().liveTensors;
  const scaler = new T.GradScaler({ initialScale: 1024, growthInterval: 2 });
  T.scope(() => {
    const weight = T.tensor([1, 2]).requiresGrad_();
    const step = (factor: number) => {
      weight.grad = undefined;
      scaler.scale(weight.mul(factor).sum()).backward();
      const finite = scaler.unscale_([weight.grad!]);
      const grad = weight.grad!.toNumbers();
      scaler.update();
      return [finite, grad, scaler.state()];
    };
    expect(step(3)).toEqual([true, [3, 3], { scale: 1024, growthTracker: 1 }]);
    expect(step(-0.5)).toEqual([true, [-0.5, -0.5], { scale: 2048, growthTracker: 0 }]); // two finite steps: doubled
    expect(step(1)).toEqual([true, [1, 1], { scale: 2048, growthTracker: 1 }]);
    const [finite, , state] = step(1e36); // beyond float32 once scaled
    expect([finite, state]).toEqual([false, { scale: 1024, growthTracker: 0 }]); // halved, and the count starts again
    expect(step(Number.NaN)[0]).toBe(false);
    expect(step(1)).toEqual([true, [1, 1], { scale: 512, growthTracker: 1 }]);

    scaler.update(false); // another process has overflowed
    expect(scaler.state()).toEqual({ scale: 256, growthTracker: 0 });
    scaler.loadState({ scale: 4, growthTracker: 1 });
    expect(scaler.scale(T.tensor(2.5)).item()).toBe(10);
    expect(step(1)).toEqual([true, [1, 1], { scale: 8, growthTracker: 0 }]);
  });
  scaler.dispose();
  expect(T.memoryStats().liveTensors).toBe(before);
});

it('rescues gradients that float16 would lose', () => {
  T.scope(() => {
    // 2^-30 lies below float16's smallest number, 2^-24; times 65536 it does not.
    const gradient = (scale: (loss: T.Tensor) => T.Tensor) => {
      const weight = T.tensor([1]).requiresGrad_();
      scale(
        weight
          .to('float16')
          .mul(1)
          .to('float32')
          .mul(2 ** -30)
          .sum(),
      ).backward();
      return weight.grad!;
    };
    const scaler = new T.GradScaler();
    expect(gradient((loss) => loss).item()).toBe(0);
    const rescued = gradient((loss) => scaler.scale(loss));
    expect(scaler.unscale_([rescued])).toBe(true);
    expect(rescued.item()).toBe(2 ** -30);
    scaler.dispose();
  });
});

it('refuses factors that do not shrink or grow', () => {
  for (const options of [{ initialScale: 0 }, { growthFactor: 1 }, { backoffFactor: 1 }, { growthInterval: 0 }]) {
    expect(() => new T.GradScaler(options)).toThrow(/^GradScaler: expected initialScale > 0, growthFactor > 1/);
  }
  expect(() => new T.GradScaler({ initialScale: Number.NaN })).toThrow(T.TensorError);
});
