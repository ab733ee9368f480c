import { expect, test } from 'vitest';
import { Throughput } from './throughput.ts';

test('a steady machine has a steady rate', () => {
  const throughput = new Throughput();
  expect(throughput.itemsPerSecond(10)).toBe(0);
  expect(throughput.secondsLeft(5)).toBe(Number.POSITIVE_INFINITY);
  for (let i = 0; i < 3; i++) throughput.recordStep(0.5);
  expect(throughput.itemsPerSecond(10)).toBeCloseTo(20, 9);
  expect(throughput.secondsLeft(8)).toBeCloseTo(4, 9);
  expect(throughput.secondsLeft(0)).toBe(0);
});

test('pauses count for the time left, not for the rate', () => {
  const throughput = new Throughput();
  for (let i = 0; i < 4; i++) {
    throughput.recordStep(1);
    throughput.recordPause(0.5);
  }
  expect(throughput.itemsPerSecond(10)).toBeCloseTo(10, 9);
  expect(throughput.secondsLeft(10)).toBeCloseTo(15, 9);
});

test('the rate follows a change', () => {
  const throughput = new Throughput();
  for (let i = 0; i < 500; i++) throughput.recordStep(1);
  for (let i = 0; i < 200; i++) throughput.recordStep(2);
  expect(throughput.itemsPerSecond(1)).toBeGreaterThan(0.5);
  expect(throughput.itemsPerSecond(1)).toBeLessThan(0.52);
});
