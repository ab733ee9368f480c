import { memoryStats, scope, tensor } from '@tessera/torch';
import { expect, test } from 'vitest';
import { IntervalMetrics } from './interval-metrics.ts';

test('means of numbers and tensors, each over those given', () => {
  const metrics = new IntervalMetrics();
  scope(() => {
    metrics.add('loss', tensor([1]).sum());
    metrics.add('loss', tensor([2]).sum());
    metrics.add('ratio', 0.5);
    metrics.add('loss', tensor([6]).sum());
  });
  expect(metrics.take()).toEqual({ loss: 3, ratio: 0.5 });
  expect(metrics.take()).toEqual({});
  expect(memoryStats().liveTensors).toBe(0);
});

test('an interval cut in two has the same mean in every bit', () => {
  const values = Array.from({ length: 9 }, (_, i) => Math.fround(Math.exp(Math.sin(i) * 5)));
  const whole = new IntervalMetrics();
  const first = new IntervalMetrics();
  const add = (metrics: IntervalMetrics, value: number) =>
    scope(() => {
      metrics.add('loss', tensor([value]).sum());
      metrics.add('half', value / 3);
    });
  for (const value of values) add(whole, value);
  for (const value of values.slice(0, 4)) add(first, value);
  const second = new IntervalMetrics(JSON.parse(JSON.stringify(first.state())));
  for (const value of values.slice(4)) add(second, value);
  expect(second.take()).toEqual(whole.take());
  first.dispose();
  expect(memoryStats().liveTensors).toBe(0);
});
