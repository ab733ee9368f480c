import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { cosineStrategy } from '@tessera/schedule';
import { setNumThreads } from '@tessera/torch';
import { afterAll, expect, it, vi } from 'vitest';
import { classGrid } from './class-grid.ts';
import { forgetGraph } from './masked-graph.ts';
import { openModelFolder } from './model-folder.ts';
import { writeTinyModel } from './tiny-model.test-support.ts';

vi.mock('./masked-graph.ts', async (original) => ({ ...(await original<object>()), forgetGraph: vi.fn() }));

const path = mkdtempSync(join(tmpdir(), 'class-grid-'));
afterAll(() => rmSync(path, { recursive: true }));

it('draws the classes in order, and frees what was recorded on the way, also where decoding fails', () => {
  setNumThreads(1);
  writeTinyModel(path);
  const { model, tokenizer, dispose } = openModelFolder(path);
  const strategy = cosineStrategy({ numSteps: 2 });
  expect(classGrid({ model, tokenizer, perClass: 2, seed: 1, strategy })).toHaveLength(6);
  expect(forgetGraph).toHaveBeenCalledExactlyOnceWith(model);
  const broken = Object.create(tokenizer, { decode: { value: () => expect.fail('no picture') } });
  expect(() => classGrid({ model, tokenizer: broken, perClass: 1, seed: 1, strategy })).toThrow('no picture');
  expect(forgetGraph).toHaveBeenCalledTimes(2);
  dispose();
});
