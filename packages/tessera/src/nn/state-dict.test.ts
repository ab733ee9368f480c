import { memoryStats, ones, scope, tensor } from '@tessera/torch';
import { expect, it } from 'vitest';
import { Linear } from './layers.ts';
import { initialise, Module, type ParameterBuilder } from './module.ts';
import { checkShapes, loadInto, loadModule, shapesOf, stateShapes } from './state-dict.ts';

class Pair extends Module {
  constructor(p: ParameterBuilder) {
    super(p);
    new Linear(p.child('first'), 2, 3);
    new Linear(p.child('second'), 3, 1);
  }
}

const construct = (p: ParameterBuilder): Pair => new Pair(p);

it('tells names and shapes without making anything', () => {
  const before = memoryStats().liveTensors;
  expect([...stateShapes(construct)]).toEqual([
    ['first.weight', [3, 2]],
    ['first.bias', [3]],
    ['second.weight', [1, 3]],
    ['second.bias', [1]],
  ]);
  expect(memoryStats().liveTensors).toBe(before);
});

it('reports all that is wrong at once, and the name that was probably meant', () =>
  scope(() => {
    const given = new Map([
      ['first.weight', ones([2, 3])],
      ['frist.bias', ones([3])],
      ['second.weight', ones([1, 3])],
      ['second.bias', ones([1])],
      ['extra', ones([1])],
    ]);
    const report =
      "f.pt does not fit this model: 1 missing (first.bias, perhaps the file's frist.bias); " +
      '2 unexpected (frist.bias, extra); 1 of another shape (first.weight: expected [3, 2], got [2, 3])';
    expect(() => loadModule(construct, given, 'f.pt')).toThrow(report);
    expect(() => checkShapes(stateShapes(construct), shapesOf(given), 'f.pt')).toThrow(report);
  }));

it('refuses NaN and infinite weights by name, and leaves nothing behind', () => {
  const module = initialise(construct);
  const before = memoryStats().liveTensors;
  scope(() => {
    const broken = new Map(module.state);
    broken.set('first.bias', tensor([1, Number.NaN, 0]));
    broken.set('second.bias', tensor([Number.NEGATIVE_INFINITY]).to('bfloat16'));
    const message = '2 with NaN or infinite values (first.bias, second.bias)';
    expect(() => loadModule(construct, broken, 'broken')).toThrow(message);
    expect(() => loadInto(module, broken, 'broken')).toThrow(message);
  });
  expect(memoryStats().liveTensors).toBe(before);
  expect([...module.state.values()].every((value) => value.isfinite().all().item() === 1)).toBe(true);
  module.dispose();
});
