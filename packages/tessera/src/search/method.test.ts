import { describe, expect, it } from 'vitest';
import { AskTell, type Candidate, checkSpace, type Method } from './method.ts';
import { cmaEs } from './methods/cma-es.ts';

const space = { names: ['a', 'b'], start: [0, 0], lower: [-1, -1], upper: [1, 1], scale: [0.5, 0.5] };

describe('AskTell', () => {
  it('goes on from the values told as if it had never stopped', () => {
    const value = ({ point }: Candidate): number => (point[0]! - 0.3) ** 2 + (point[1]! + 0.2) ** 2;
    const whole = new AskTell(cmaEs(space, { seed: 3 }));
    for (let i = 0; i < 6; i++) whole.tell(whole.ask().map(value));
    const state = JSON.parse(JSON.stringify(whole.told)) as number[];
    const resumed = AskTell.resume(cmaEs(space, { seed: 3 }), state);
    expect(resumed.ask()).toEqual(whole.ask());
    expect(resumed.told).toEqual(whole.told);
  });

  it('refuses values that it did not ask for', () => {
    function* once(): Method {
      yield [{ phase: 'start', point: [0, 0], share: 1 }];
    }
    const run = new AskTell(once());
    expect(() => run.tell([1, 2])).toThrow('Expected 1 values for 1 candidates, got 2');
    run.tell([1]);
    expect(run.isDone).toBe(true);
    expect(() => run.ask()).toThrow('The search has ended');
  });
});

describe('checkSpace', () => {
  it.each([
    [{ lower: [2, -1] }, 'a: expected a lower bound below the upper one, got 2 and 1'],
    [{ start: [0, 3] }, 'b: the start 3 is not within -1 and 1'],
    [{ start: [0, Number.NaN] }, 'b: the start NaN'],
    [{ scale: [0, 1] }, 'a: expected a step above 0, got 0'],
  ])('refuses %j', (change, message) => {
    expect(() => checkSpace({ ...space, ...change })).toThrow(message);
  });
});
