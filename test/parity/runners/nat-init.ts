/** An own random initialisation: the reference's shapes, and statistics within those of one draw of its distributions. */

import { manualSeed } from '@tessera/torch';
import { AutoNat, Enat, initialise } from 'tessera';
import type { Json } from '../golden-set.ts';
import type { Runner } from '../runner.ts';
import { enatConfig } from './enat-model.ts';
import { autonatConfig, isAutonat } from './nat-model.ts';

type Expected =
  | { dist: 'constant'; value: number }
  | { dist: 'normal'; mean: number; std: number }
  | { dist: 'uniform'; bound: number };

export const natInitStatistics: Runner = (context) => {
  manualSeed(1);
  const model = isAutonat(context)
    ? initialise((p) => new AutoNat(autonatConfig(context.config), p))
    : initialise((p) => new Enat(enatConfig(context.config), p));
  const expected = context.param('expected') as unknown as Record<string, Expected>;
  const minCount = context.param<number>('minCountForStatistics');
  const shapes: Record<string, Json> = {};
  const mean: Record<string, Json> = {};
  const std: Record<string, Json> = {};
  const absmax: Record<string, Json> = {};
  for (const [name, tensor] of model.parameters) {
    const values = tensor.toNumbers();
    const count = values.length;
    const average = values.reduce((sum, x) => sum + x, 0) / count;
    const variance = values.reduce((sum, x) => sum + (x - average) ** 2, 0) / Math.max(1, count - 1);
    shapes[name] = tensor.shape;
    mean[name] = average;
    std[name] = Math.sqrt(variance);
    absmax[name] = values.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
    const problem = check(expected[name]!, values, average, Math.sqrt(variance), count >= minCount, {
      relStd: context.param<number>('relStd'),
      absMeanInStd: context.param<number>('absMeanInStd'),
    });
    if (problem !== undefined) throw new Error(`${name}: ${problem}`);
  }
  return { shapes, mean, std, absmax };
};

function check(
  expected: Expected,
  values: readonly number[],
  mean: number,
  std: number,
  enough: boolean,
  limits: { relStd: number; absMeanInStd: number },
): string | undefined {
  const n = values.length;
  switch (expected.dist) {
    case 'constant':
      return values.every((x) => x === expected.value) ? undefined : `expected ${expected.value} everywhere`;
    case 'normal':
      if (!enough) return undefined;
      if (Math.abs(mean) > (4 * expected.std) / Math.sqrt(n)) return `mean ${mean}`;
      return Math.abs(std / expected.std - 1) <= 4 / Math.sqrt(2 * n) ? undefined : `deviation ${std}`;
    case 'uniform': {
      const { bound } = expected;
      if (values.some((x) => Math.abs(x) > bound)) return `a value beyond ${bound}`;
      if (!enough) return undefined;
      if (Math.abs(mean) > (limits.absMeanInStd * bound) / Math.sqrt(3 * n)) return `mean ${mean}`;
      return Math.abs((std * Math.sqrt(3)) / bound - 1) <= limits.relStd ? undefined : `deviation ${std}`;
    }
    default:
      return expected satisfies never;
  }
}
