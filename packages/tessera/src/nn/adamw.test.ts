import { keep, memoryStats, noGrad, scope, type Tensor, tensor } from '@tessera/torch';
import { afterEach, expect, test } from 'vitest';
import { AdamW } from './adamw.ts';

const owned: Tensor[] = [];
afterEach(() => {
  for (const one of owned.splice(0)) one.dispose();
});

function parameter(values: number[] | number[][]): Tensor {
  const made = keep(tensor(values)).requiresGrad_();
  owned.push(made);
  return made;
}

function setGradient(parameter: Tensor, values: number[] | number[][]): void {
  scope(() => {
    parameter.grad = tensor(values);
  });
}

/** Algorithm 2 of Loshchilov and Hutter in float64, for one number. */
class Reference {
  weight: number;
  private m = 0;
  private v = 0;
  private t = 0;

  constructor(weight: number) {
    this.weight = weight;
  }

  step(gradient: number, lr: number, weightDecay: number): void {
    this.t += 1;
    this.m = 0.9 * this.m + 0.1 * gradient;
    this.v = 0.99 * this.v + 0.01 * gradient * gradient;
    this.weight -= lr * weightDecay * this.weight;
    this.weight -= (lr * (this.m / (1 - 0.9 ** this.t))) / (Math.sqrt(this.v / (1 - 0.99 ** this.t)) + 1e-8);
  }
}

test('the weights follow the published algorithm, group by group', () => {
  const matrix = parameter([[1, -2]]);
  const bias = parameter([0.5]);
  const optimizer = new AdamW(
    new Map([
      ['matrix', matrix],
      ['bias', bias],
    ]),
    {
      betas: [0.9, 0.99],
      weightDecay: 0.1,
      groups: [{ matches: (name) => name === 'bias', weightDecay: 0 }],
    },
  );
  const expected = [new Reference(1), new Reference(-2), new Reference(0.5)];
  for (let step = 0; step < 20; step++) {
    const gradients = [Math.sin(step), 0.3 * Math.cos(2 * step), 1 / (1 + step)];
    const lr = 0.01 * (1 + step);
    setGradient(matrix, [gradients.slice(0, 2)]);
    setGradient(bias, gradients.slice(2));
    optimizer.step(lr);
    expected[0]!.step(gradients[0]!, lr, 0.1);
    expected[1]!.step(gradients[1]!, lr, 0.1);
    expected[2]!.step(gradients[2]!, lr, 0);
  }
  const weights = [...matrix.toNumbers(), ...bias.toNumbers()];
  for (const [i, weight] of weights.entries()) expect(weight).toBeCloseTo(expected[i]!.weight, 5);
  optimizer.dispose();
});

test('a parameter without a gradient neither decays nor counts the step', () => {
  const used = parameter([1]);
  const idle = parameter([1]);
  const optimizer = new AdamW(
    new Map([
      ['used', used],
      ['idle', idle],
    ]),
    { weightDecay: 1 },
  );
  setGradient(used, [1]);
  optimizer.step(0.1);
  expect([...optimizer.state().keys()]).toEqual(['used.exp_avg', 'used.exp_avg_sq', 'used.step']);
  setGradient(idle, [1]);
  optimizer.step(0.1);
  expect(optimizer.state().get('used.step')!.item()).toBe(2);
  expect(optimizer.state().get('idle.step')!.item()).toBe(1);
  // One step from 1: decay to 0.9, then -0.1 times the sign of the gradient.
  expect(idle.item()).toBeCloseTo(0.8, 6);
  optimizer.dispose();
});

test('with its state loaded into another, both go on in the same bits', () => {
  const before = memoryStats().liveTensors;
  const first = new Map([['w', parameter([1, 2, 3])]]);
  const optimizer = new AdamW(first, { weightDecay: 0.1 });
  setGradient(first.get('w')!, [0.1, -0.7, 3]);
  optimizer.step(0.01);
  const second = new Map([['w', parameter(first.get('w')!.toNumbers())]]);
  const other = new AdamW(second, { weightDecay: 0.1 });
  other.load(optimizer.state(), 'the first');
  for (const [parameters, one] of [
    [first, optimizer],
    [second, other],
  ] as const) {
    setGradient(parameters.get('w')!, [0.3, 0.1, -1]);
    one.step(0.02);
  }
  expect(second.get('w')!.toBytes()).toEqual(first.get('w')!.toBytes());
  optimizer.dispose();
  other.dispose();
  expect(memoryStats().liveTensors).toBe(before + 2);
});

test('state that does not fit is refused with every reason', () => {
  const optimizer = new AdamW(new Map([['w', parameter([1, 2])]]));
  noGrad(() =>
    scope(() => {
      const partial = new Map([
        ['w.exp_avg', tensor([1])],
        ['x.step', tensor([1])],
      ]);
      expect(() => optimizer.load(partial, 'file.safetensors')).toThrow(
        'file.safetensors does not fit this optimizer: w: 1 of 3 tensors; w: expected [2], got [1]; x.step: no such parameter',
      );
    }),
  );
});
