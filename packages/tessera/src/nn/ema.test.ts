import { manualSeed, noGrad, scope } from '@tessera/torch';
import { expect, test } from 'vitest';
import { Ema } from './ema.ts';
import { ONES, ZEROS } from './initialisation.ts';
import { initialise, Module, type ParameterBuilder } from './module.ts';

class Pair extends Module {
  constructor(p: ParameterBuilder, extra = false) {
    super(p);
    p.parameter('weight', [3], { kind: 'normal', std: 1 });
    p.buffer('count', [1], ZEROS);
    if (extra) p.parameter('more', [1], ONES);
  }
}

test('parameters move by 1 - decay, buffers are copied', () => {
  manualSeed(3);
  const model = initialise((p) => new Pair(p)).trainable();
  const average = initialise((p) => new Pair(p));
  const ema = new Ema(average.state, model);
  const weights = model.state.get('weight')!.toNumbers();
  const expected = average.state.get('weight')!.toNumbers();
  noGrad(() =>
    scope(() => {
      model.state.get('count')!.fill_(7);
    }),
  );
  for (const decay of [0.1, 0.9, 0.99]) {
    ema.update(decay);
    for (const [i, weight] of weights.entries()) expected[i] = decay * expected[i]! + (1 - decay) * weight;
  }
  const got = average.state.get('weight')!.toNumbers();
  for (const [i, value] of got.entries()) expect(value).toBeCloseTo(expected[i]!, 6);
  expect(average.state.get('count')!.item()).toBe(7);
  expect(model.state.get('weight')!.toNumbers()).toEqual(weights);
  model.dispose();
  average.dispose();
});

test('an average of another architecture is refused', () => {
  const model = initialise((p) => new Pair(p, true));
  const average = initialise((p) => new Pair(p));
  expect(() => new Ema(average.state, model)).toThrow('The average has 2 tensors, the model 3');
  model.dispose();
  average.dispose();
});
