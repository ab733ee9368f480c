import { gradients, scope, tensor } from '@tessera/torch';
import { expect, test } from 'vitest';
import { type AdversarialLoss, discriminatorLoss, generatorLoss } from './adversarial-loss.ts';

const softplus = (x: number): number => Math.log1p(Math.exp(x));
const mean = (values: number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;
const REAL = [2, -0.5, 0.25];
const FAKE = [-3, 0.5, 0.1];
const ofDiscriminator = (kind: AdversarialLoss): number => scope(() => discriminatorLoss(kind, tensor(REAL), tensor(FAKE)).item()); // biome-ignore format: one row
const ofGenerator = (kind: AdversarialLoss): number => scope(() => generatorLoss(kind, tensor(FAKE)).item());

test('hinge: logits beyond the margin count no more', () => {
  expect(ofDiscriminator('hinge')).toBeCloseTo(0.5 * (mean([0, 1.5, 0.75]) + mean([0, 1.5, 1.1])), 6);
  expect(ofGenerator('hinge')).toBeCloseTo(-mean(FAKE), 6);
});

test('vanilla: cross entropy of the sigmoid', () => {
  const wanted = 0.5 * (mean(REAL.map((x) => softplus(-x))) + mean(FAKE.map(softplus)));
  expect(ofDiscriminator('vanilla')).toBeCloseTo(wanted, 6);
  expect(ofGenerator('vanilla')).toBeCloseTo(mean(FAKE.map((x) => softplus(-x))), 6);
});

test('non-saturating: as released, slopes are constant and false pictures do not count', () => {
  const slope = 1 + softplus(-1); // log(1 + e^x) − x·t at x = 1, t = 0
  expect(ofDiscriminator('non-saturating')).toBeCloseTo(0.5 * (slope - mean(REAL) + Math.log(2)), 6);
  expect(ofGenerator('non-saturating')).toBeCloseTo(slope - mean(FAKE), 6);
  scope(() => {
    const [real, fake] = [tensor(REAL).requiresGrad_(), tensor(FAKE).requiresGrad_()];
    const [ofReal, ofFake] = gradients([discriminatorLoss('non-saturating', real, fake)], [real, fake]);
    for (const value of ofReal!.toNumbers()) expect(value).toBeCloseTo(-1 / 6, 6);
    for (const value of ofFake!.toNumbers()) expect(value).toBeCloseTo(0, 9);
  });
});
