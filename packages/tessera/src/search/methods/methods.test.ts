import { Draws } from '@tessera/schedule';
import { describe, expect, it } from 'vitest';
import { AskTell, type Method, type Space } from '../method.ts';
import { cmaEs } from './cma-es.ts';
import { coordinateSearch } from './coordinate.ts';
import { finiteDifference } from './finite-difference.ts';
import { successiveHalving } from './successive-halving.ts';
import { trustRegion } from './trust-region.ts';

type Objective = (x: readonly number[]) => number;

const sphere: Objective = (x) => x.reduce((sum, v, i) => sum + (v - 0.5 - 0.1 * i) ** 2, 0);
const rosenbrock: Objective = ([a, b]) => (1 - a!) ** 2 + 100 * (b! - a! ** 2) ** 2;
/** Turned by 30° in the plane of each pair of variables; `condition` is the ratio of its curvatures. */
const ellipsoid =
  (condition: number): Objective =>
  (x) => {
    let sum = 0;
    for (let i = 0; i < x.length; i += 2) {
      const [u, v] = [x[i]! - 1, x[i + 1]! + 0.5];
      const [c, s] = [Math.cos(Math.PI / 6), Math.sin(Math.PI / 6)];
      sum += (c * u - s * v) ** 2 + condition * (s * u + c * v) ** 2;
    }
    return sum;
  };

function box(start: readonly number[], side = 5): Space {
  return {
    names: start.map((_, i) => `x${i}`),
    start,
    lower: start.map(() => -side),
    upper: start.map(() => side),
    scale: start.map(() => 0.5),
  };
}

/** The best value of whole evaluations within a budget. */
function run(method: Method, objective: Objective, evaluations: number): number {
  const search = new AskTell(method);
  let best = Number.POSITIVE_INFINITY;
  while (!search.isDone && search.told.length < evaluations) {
    const batch = search.ask();
    const values = batch.map(({ point }) => objective(point));
    for (const [i, { share }] of batch.entries()) if (share === 1) best = Math.min(best, values[i]!);
    search.tell(values);
  }
  return best;
}

const six = box([2, -1, 0, 1, -2, 1.5]);
const two = box([-1, 1]);

describe('cmaEs', () => {
  it('solves the sphere, Rosenbrock and a turned ellipsoid', () => {
    expect(run(cmaEs(six, { seed: 1 }), sphere, 1200)).toBeLessThan(1e-8);
    expect(run(cmaEs(two, { seed: 2 }), rosenbrock, 1500)).toBeLessThan(1e-8);
    expect(run(cmaEs(box([3, 3, -3, 2]), { seed: 3 }), ellipsoid(900), 2500)).toBeLessThan(1e-8);
  });

  it('finds a minimum on the edge of the box', () => {
    const edge: Space = {
      ...six,
      upper: six.upper.map(() => 2),
      lower: six.lower.map(() => -2),
      start: [2, -1, 0, 1, -2, 1.5],
    };
    const best = run(cmaEs(edge, { seed: 4 }), (x) => x.reduce((sum, v) => sum + (v - 3) ** 2, 0), 1500);
    expect(best).toBeCloseTo(6, 3);
  });

  it('holds under noise', () => {
    let call = 0;
    const noisy: Objective = (x) => sphere(x) + 0.05 * Math.sin(12.9898 * ++call);
    expect(run(cmaEs(six, { seed: 5, population: 16 }), noisy, 1200)).toBeLessThan(0.05);
  });

  it('searches what its bounds leave free as if the rest were not there', () => {
    const held: Space = { ...six, lower: six.lower.with(1, -1).with(4, -2), upper: six.upper.with(1, -1).with(4, -2) };
    const free = [0, 2, 3, 5];
    const of = (values: readonly number[]): number[] => free.map((i) => values[i]!);
    const small = box(of(six.start));
    const [all, some] = [new AskTell(cmaEs(held, { seed: 6 })), new AskTell(cmaEs(small, { seed: 6 }))];
    for (let generation = 0; generation < 20; generation++) {
      expect(all.ask().map(({ point }) => of(point))).toEqual(some.ask().map(({ point }) => point));
      for (const { point } of all.ask()) expect([point[1], point[4]]).toEqual([-1, -2]);
      for (const search of [all, some]) search.tell(some.ask().map(({ point }) => sphere(point)));
    }
    const none = new AskTell(cmaEs({ ...two, lower: two.start, upper: two.start }, { seed: 7 }));
    none.tell([1]);
    expect(none.isDone).toBe(true);
  });

  it('depends on its seed alone', () => {
    const points = (seed: number) => new AskTell(cmaEs(six, { seed })).ask();
    expect(points(7)).toEqual(points(7));
    expect(points(7)[1]).not.toEqual(points(8)[1]);
  });
});

describe('coordinateSearch', () => {
  it('solves the sphere and ends by itself', () => {
    expect(run(coordinateSearch(six, { smallestStep: 1e-4 }), sphere, 10_000)).toBeLessThan(1e-7);
  });

  it('stays in the box', () => {
    const search = new AskTell(coordinateSearch(box([1, 1], 1)));
    while (!search.isDone) {
      const batch = search.ask();
      for (const { point } of batch) expect(Math.max(...point.map(Math.abs))).toBeLessThanOrEqual(1);
      search.tell(batch.map(({ point }) => -point[0]! - point[1]!));
    }
  });
});

describe('trustRegion', () => {
  it('solves the sphere, a turned ellipsoid and Rosenbrock in few evaluations', () => {
    expect(run(trustRegion(six, { seed: 1 }), sphere, 60)).toBeLessThan(5e-3);
    expect(run(trustRegion(box([3, 3]), { seed: 1, smallestRadius: 1e-6 }), ellipsoid(10), 150)).toBeLessThan(1e-4);
    expect(run(trustRegion(two, { seed: 1, smallestRadius: 1e-6 }), rosenbrock, 200)).toBeLessThan(1e-2);
  });

  it('ends by itself, and never leaves the box', () => {
    const search = new AskTell(trustRegion(box([1, 1], 1), { seed: 3, smallestRadius: 0.3 }));
    while (!search.isDone) {
      const batch = search.ask();
      for (const { point } of batch) expect(Math.max(...point.map(Math.abs))).toBeLessThanOrEqual(1);
      search.tell(batch.map(({ point }) => -point[0]! - point[1]!));
    }
    expect(Math.min(...search.told)).toBe(-2);
  });

  it('measures no point twice, nor what its bounds hold fixed', () => {
    const held: Space = { ...six, lower: six.lower.with(1, -1).with(4, -2), upper: six.upper.with(1, -1).with(4, -2) };
    for (const space of [two, six, held, { ...two, start: [5, 5] }]) {
      for (const roughness of [0, 0.02]) {
        const search = new AskTell(trustRegion({ ...space }, { seed: 1 }));
        const seen = new Set<string>();
        const rough: Objective = (x) => sphere(x) + roughness * Math.sin(1e3 * x.reduce((sum, v) => sum + v, 0));
        let count = 0;
        while (!search.isDone && count < 60) {
          const batch = search.ask();
          for (const { point } of batch) seen.add(String(point));
          count += batch.length;
          expect(seen.size).toBe(count);
          search.tell(batch.map(({ point }) => rough(point)));
        }
      }
    }
    const fixed = new AskTell(trustRegion({ ...two, lower: two.start, upper: two.start }, { seed: 1 }));
    fixed.tell([1]);
    expect(fixed.isDone).toBe(true);
  });

  it('does not shrink into the noise: what is left of the sphere, of the median of 15 seeds', () => {
    // In units of the noise, which a single measurement cannot see below.
    const left = Array.from({ length: 15 }, (_, seed) => {
      const draws = new Draws(seed, 0, 0, 0);
      let best = { noisy: Number.POSITIVE_INFINITY, value: Number.POSITIVE_INFINITY };
      run(
        trustRegion(six, { seed }),
        (x) => {
          const value = sphere(x);
          const noisy = value + draws.normal();
          if (noisy < best.noisy) best = { noisy, value };
          return noisy;
        },
        70,
      );
      return best.value;
    });
    expect(left.sort((a, b) => a - b)[7]).toBeLessThan(2);
  });

  it('begins inside when the start is a corner', () => {
    expect(run(trustRegion({ ...two, start: [5, -5] }, { seed: 2 }), sphere, 120)).toBeLessThan(1e-2);
  });
});

describe('successiveHalving', () => {
  const noisyBySize =
    (noise: number): Objective =>
    (x) =>
      sphere(x) + noise * Math.sin(1e4 * x[0]!);

  it('improves round by round and spends most candidates on few images', () => {
    const search = new AskTell(successiveHalving(six, { seed: 1, candidates: 27, factor: 3 }));
    const shares: number[] = [];
    let best = Number.POSITIVE_INFINITY;
    let images = 0;
    while (images < 100) {
      const batch = search.ask();
      const values = batch.map(({ point, share }) => noisyBySize(0.2 * (1 - share))(point));
      for (const [i, { share }] of batch.entries()) {
        shares.push(share);
        images += share;
        if (share === 1) best = Math.min(best, values[i]!);
      }
      search.tell(values);
    }
    expect(best).toBeLessThan(0.25 * sphere(six.start));
    expect([...new Set(shares)].sort()).toEqual([1 / 27, 1 / 9, 1 / 3, 1]);
    expect(shares.filter((share) => share < 1).length).toBeGreaterThan(10 * shares.filter((s) => s === 1).length);
  });
});

describe('finiteDifference', () => {
  /** T = 2: one ratio, one choice temperature, two sample temperatures, two scales. */
  const start = [0.7, 1, 1, 1, 0.5, 1];

  it('follows the formulas by hand: one-sided slopes, momentum, clamps', () => {
    const search = new AskTell(finiteDifference(start, 2, { momentum: 0.5, maxUpdates: 2 }));
    const slopes = [300, -2, 1, 0, 100, 4];
    const value: Objective = (x) => x.reduce((sum, v, i) => sum + slopes[i]! * v, 0);
    search.tell(search.ask().map(({ point }) => value(point)));
    const probes = search.ask();
    expect(probes.map(({ point }, i) => point[i]! - start[i]!)).toEqual(
      [0.01, 0.1, 0.1, 0.1, 0.1, 0.1].map((step) => expect.closeTo(step, 12)),
    );
    search.tell(probes.map(({ point }) => value(point)));
    const [first] = search.ask();
    // ratio 0.7 − 0.001 · 300; guidance 0.5 − 0.1 · 100 lies on its bound.
    expect(first!.point).toEqual([0.4, 1.2, 0.9, 1, 1e-4, 0.6].map((x) => expect.closeTo(x, 9)));
    search.tell([value(first!.point)]);
    search.tell(search.ask().map(({ point }) => value(point)));
    // The velocity is 1.5 slopes now; the ratio is held at 0.
    expect(search.ask()[0]!.point).toEqual([0, 1.5, 0.75, 1, 1e-4, 1e-4].map((x) => expect.closeTo(x, 9)));
    search.tell([0]);
    expect(search.isDone).toBe(true);
  });

  it('divides by the step that the clamp left', () => {
    const search = new AskTell(finiteDifference([0.999, ...start.slice(1)], 2, { maxUpdates: 1 }));
    search.tell([0]);
    const [probe] = search.ask();
    expect(probe!.point[0]).toBe(1);
    search.tell(search.ask().map((_, i) => (i === 0 ? 0.1 : 0))); // slope 0.1 / 0.001 = 100
    expect(search.ask()[0]!.point[0]).toBeCloseTo(0.999 - 0.1, 9);
  });

  it('limits the slope where asked', () => {
    const search = new AskTell(finiteDifference(start, 2, { clip: 2, maxUpdates: 1 }));
    search.tell([0]);
    search.tell(search.ask().map(() => 100));
    expect(search.ask()[0]!.point).toEqual([0.698, 0.8, 0.8, 0.8, 0.3, 0.8].map((x) => expect.closeTo(x, 9)));
  });
});
