import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { autoregressiveSettings, cosineStrategy } from '@tessera/schedule';
import { memoryStats, scope } from '@tessera/torch';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type ModelFolder, openModelFolder } from './model-folder.ts';
import { generateLabelled } from './start-generation.ts';
import { writeTinyGpt, writeTinyModel } from './tiny-model.test-support.ts';

let folder: string;
let enat: ModelFolder;
let gpt: ModelFolder;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'start generation '));
  writeTinyModel(join(folder, 'enat'));
  writeTinyGpt(join(folder, 'gpt'), join(folder, 'enat'));
  enat = openModelFolder(join(folder, 'enat'));
  gpt = openModelFolder(join(folder, 'gpt'));
});
afterAll(() => {
  for (const opened of [enat, gpt]) opened.dispose();
  rmSync(folder, { recursive: true, force: true });
});

it.each(['enat', 'gpt'])(
  '%s: an image is the same by its index, wherever it stands, and leaves nothing behind',
  (name) => {
    const { model } = name === 'enat' ? enat : gpt;
    const strategy = name === 'enat' ? cosineStrategy({ numSteps: 3, guidanceScale: 2 }) : autoregressiveSettings({});
    const draw = (labels: number[], images?: number[]): number[][] =>
      scope(() => {
        const tokens = generateLabelled(model, { strategy, labels, seed: 4, first: 0, images });
        return labels.map((_, row) => tokens.select(0, row).toNumbers());
      });
    const all = draw([0, 1, 2, 0, 1, 2]);
    const before = memoryStats().liveTensors;
    expect(draw([2, 1], [5, 1])).toEqual([all[5], all[1]]);
    expect(memoryStats().liveTensors).toBe(before);
  },
);

it('leaves nothing behind where first steps reveal nothing', () => {
  const plain = cosineStrategy({ numSteps: 4 });
  const [first, second, ...rest] = plain.steps;
  const strategy = {
    ...plain,
    keepProgress: false,
    steps: [{ ...first!, maskRatio: 1 }, { ...second!, maskRatio: 1 }, ...rest],
  };
  const draw = (): void =>
    scope(() => void generateLabelled(enat.model, { strategy, labels: [0, 1], seed: 1, first: 0 }));
  draw();
  const before = memoryStats().liveTensors;
  draw();
  expect(memoryStats().liveTensors).toBe(before);
});
