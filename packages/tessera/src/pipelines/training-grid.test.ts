import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { memoryStats, scope, setNumThreads } from '@tessera/torch';
import { expect, test, vi } from 'vitest';
import { decodeTokens } from './decode-tokens.ts';
import { forgetGraph } from './masked-graph.ts';
import { openModelFolder } from './model-folder.ts';
import { smallModelSampling } from './small-model-sampling.ts';
import { generateLabelled } from './start-generation.ts';
import { writeTinyModel } from './tiny-model.test-support.ts';
import { gridLabels, trainingGrid } from './training-grid.ts';

vi.mock('./masked-graph.ts', async (original) => ({ ...(await original<object>()), forgetGraph: vi.fn() }));

test('few classes have a row each, many one image from everywhere', () => {
  expect(gridLabels(2)).toEqual({ labels: [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1], perClass: 8 });
  expect(gridLabels(40)).toMatchObject({ labels: Array.from({ length: 40 }, (_, i) => i), perClass: 1 });
  const { labels } = gridLabels(1000);
  expect(labels).toHaveLength(64);
  expect(labels.slice(0, 3)).toEqual([0, 15, 31]);
});

test('draws what sampling draws, and frees what was recorded on the way, also where decoding fails', () => {
  setNumThreads(1);
  const folder = mkdtempSync(join(tmpdir(), 'training grid '));
  try {
    writeTinyModel(folder);
    const before = memoryStats().liveTensors;
    const { model, tokenizer, dispose } = openModelFolder(folder);
    const { images, perClass } = trainingGrid(model, tokenizer, 3);
    const { labels } = gridLabels(model.config.numClasses);
    const options = { strategy: smallModelSampling(model.generation), labels, seed: 3, first: 0 };
    expect(perClass).toBe(8);
    expect(images).toEqual(scope(() => decodeTokens(tokenizer, generateLabelled(model, options))));
    expect(forgetGraph).toHaveBeenCalledExactlyOnceWith(model);
    const broken = Object.create(tokenizer, { decode: { value: () => expect.fail('no picture') } });
    expect(() => trainingGrid(model, broken, 3)).toThrow('no picture');
    expect(forgetGraph).toHaveBeenCalledTimes(2);
    dispose();
    expect(memoryStats().liveTensors).toBe(before);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
