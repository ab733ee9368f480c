import { type AutoregressiveSettingsInput, autoregressiveSettings } from '@tessera/schedule';
import { manualSeed, memoryStats, noGrad, scope, tensor } from '@tessera/torch';
import { beforeAll, expect, test } from 'vitest';
import { Gpt, prepend } from '../models/gpt.ts';
import { gptConfigSchema } from '../models/gpt-config.ts';
import { ropeRows } from '../models/gpt-rope.ts';
import { initialise } from '../nn/module.ts';
import { AutoregressiveGeneration, philoxTokenNoise } from './autoregressive-generation.ts';
import { forgetGraph } from './masked-graph.ts';

let model: Gpt;

beforeAll(() => {
  manualSeed(11);
  const config = gptConfigSchema.parse({
    gridSize: 4,
    codebookSize: 50,
    numClasses: 5,
    embedDim: 64,
    depth: 2,
    numHeads: 4,
    ffnMultipleOf: 8,
  });
  model = initialise((p) => new Gpt(config, p));
  noGrad(() => scope(() => model.state.get('output.weight')!.normal_(0, 0.5)));
});

function generation(
  images: readonly number[],
  slots: number,
  settings: AutoregressiveSettingsInput = {},
  graphs = false,
) {
  return new AutoregressiveGeneration(model, {
    settings: autoregressiveSettings({ guidanceScale: 2, ...settings }),
    noise: philoxTokenNoise(7),
    images,
    condition: (some, guided) => {
      const labels = some.map((image) => image % 5);
      return model.conditionOn(tensor(labels, 'int64'), guided);
    },
    slots,
    graphs,
  });
}

function draw(
  images: readonly number[],
  slots: number,
  settings?: AutoregressiveSettingsInput,
  graphs?: boolean,
): Map<number, number[]> {
  const run = generation(images, slots, settings, graphs);
  const found = new Map<number, number[]>();
  while (!run.isDone) {
    for (const { image, tokens } of run.step()) {
      found.set(image, tokens.toNumbers());
      tokens.dispose();
    }
  }
  run.dispose();
  return found;
}

test('an image is the same in any batch, slot and order', () => {
  const together = draw([0, 1, 2, 3, 4, 5], 6);
  expect(new Set([...together.values()].map(String)).size).toBe(6);
  expect(draw([0, 1, 2, 3, 4, 5], 1)).toEqual(together);
  expect(draw([0, 1, 2, 3, 4, 5], 4)).toEqual(together);
  for (const [image, tokens] of draw([5, 3], 2)) expect(tokens).toEqual(together.get(image));
});

test('a slot that is free takes the next image while the others go on', () => {
  const alone = draw([0, 1, 2], 1, { guidedTokens: 3 });
  const run = generation([0, 1, 2], 2, { guidedTokens: 3 });
  const found = new Map<number, number[]>();
  const late: number[] = [];
  let step = 0;
  while (!run.isDone) {
    for (const { image, tokens } of run.step()) {
      found.set(image, tokens.toNumbers());
      tokens.dispose();
    }
    step += 1;
    for (const { image, picked } of run.progress) {
      expect(run.tokensOf(image)).toHaveLength(picked);
      if (image === 2) late.push(step);
    }
  }
  expect(late[0]).toBe(17);
  expect(found).toEqual(alone);
  run.dispose();
});

test('guidance, its interval and the filters change what is drawn; nothing is left behind', () => {
  const before = memoryStats().liveTensors;
  const plain = draw([0], 1, { guidanceScale: 1 }).get(0)!;
  const guided = draw([0], 1).get(0)!;
  const early = draw([0], 1, { guidedTokens: 2 }).get(0)!;
  expect(guided).not.toEqual(plain);
  expect(early.slice(0, 3)).toEqual(guided.slice(0, 3));
  expect(draw([0], 1, { greedy: true })).toEqual(draw([0], 1, { topK: 1 }));
  expect(memoryStats().liveTensors).toBe(before);
});

test('weights of a byte draw images of their own, and the float ones come back', () => {
  const float = draw([0, 1], 2);
  model.quantize();
  const bytes = draw([0, 1], 2);
  model.dropQuantized();
  expect(bytes.size).toBe(2);
  expect(draw([0, 1], 2)).toEqual(float);
});

test('grouped queries: each pick is the most likely code of a pass over all that came before', () => {
  manualSeed(12);
  const { numHeads } = model.config;
  const config = gptConfigSchema.parse({ ...model.config, numKvHeads: numHeads / 2 });
  const grouped = initialise((p) => new Gpt(config, p));
  noGrad(() => scope(() => grouped.state.get('output.weight')!.normal_(0, 0.5)));
  const run = new AutoregressiveGeneration(grouped, {
    settings: autoregressiveSettings({ guidanceScale: 1, greedy: true }),
    noise: philoxTokenNoise(7),
    images: [0, 1, 2],
    condition: (some) => grouped.conditionOn(tensor([...some], 'int64'), false),
    slots: 2,
  });
  const found = new Map<number, number[]>();
  while (!run.isDone) {
    for (const { image, tokens } of run.step()) {
      found.set(image, tokens.toNumbers());
      tokens.dispose();
    }
  }
  run.dispose();
  for (const [image, tokens] of found) {
    const best = noGrad(() =>
      scope(() => {
        const { embedded } = grouped.conditionOn(tensor([image], 'int64'), false);
        const x = prepend(embedded, grouped.embedTokens(tensor([tokens.slice(0, -1)], 'int64')));
        const logits = grouped.head(grouped.forward({ x, rope: ropeRows(grouped.rope(), 0, tokens.length) }));
        return logits.argmax(-1).toNumbers();
      }),
    );
    expect(tokens).toEqual(best);
  }
  expect(found.size).toBe(3);
  grouped.dispose();
});

test.each([
  ['guided', {}],
  ['a guided beginning', { guidedTokens: 5, topK: 20 }],
  ['unguided and greedy', { guidanceScale: 1, greedy: true }],
])('recorded steps draw the same images, slots taken anew on the way: %s', (_, settings) => {
  const plain = draw([0, 1, 2, 3, 4], 2, settings);
  const before = memoryStats().liveTensors;
  // The second works in what the first has left with the model.
  for (let turn = 0; turn < 2; turn++) expect(draw([0, 1, 2, 3, 4], 2, settings, true)).toEqual(plain);
  forgetGraph(model);
  expect(memoryStats().liveTensors).toBe(before);
});

test('recorded steps wait with the model for a generation of their kind; another kind and new weights free them', () => {
  const before = memoryStats().liveTensors;
  const float = draw([0, 1], 2, {}, true);
  const kept = [...model.companions];
  expect(kept.length).toBe(1);
  // Stopped on the way: what is left of it is not seen in the next.
  const stopped = generation([2, 3], 2, {}, true);
  expect(model.companions.size).toBe(0);
  for (let step = 0; step < 5; step++) stopped.step();
  stopped.dispose();
  expect([...model.companions]).toEqual(kept);
  expect(draw([0, 1], 2, {}, true)).toEqual(float);
  draw([0, 1], 2, { topK: 3 }, true);
  expect([model.companions.size, model.companions.has(kept[0]!)]).toEqual([1, false]);
  model.quantize();
  expect(model.companions.size).toBe(0);
  const bytes = draw([0, 1], 2, {}, false);
  expect(draw([0, 1], 2, {}, true)).toEqual(bytes);
  model.dropQuantized();
  expect(memoryStats().liveTensors).toBe(before);
});
