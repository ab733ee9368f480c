import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { memoryStats, setNumThreads } from '@tessera/torch';

import { expect, test } from 'vitest';
import { classGrid } from './class-grid.ts';
import { openModelFolder } from './model-folder.ts';
import { writeTinyModel } from './tiny-model.test-support.ts';
import { gridLabels, trainingGrid } from './training-grid.ts';

test('few classes have a row each, many one image from everywhere', () => {
  expect(gridLabels(2)).toEqual({ labels: [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1], perClass: 8 });
  expect(gridLabels(40)).toMatchObject({ labels: Array.from({ length: 40 }, (_, i) => i), perClass: 1 });
  const { labels } = gridLabels(1000);
  expect(labels).toHaveLength(64);
  expect(labels.slice(0, 3)).toEqual([0, 15, 31]);
});

test('the images are those of classGrid', () => {
  setNumThreads(1);
  const folder = mkdtempSync(join(tmpdir(), 'training grid '));
  try {
    writeTinyModel(folder);
    const before = memoryStats().liveTensors;
    const { model, tokenizer, dispose } = openModelFolder(folder);
    const { images, perClass } = trainingGrid(model, tokenizer, 3);
    expect(images).toEqual(classGrid({ model, tokenizer, perClass, seed: 3 }));
    dispose();
    expect(memoryStats().liveTensors).toBe(before);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
