import { mkdtempSync, readdirSync, readFileSync, rmSync, utimesSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readNpz } from '@tessera/formats';
import { withFile } from '@tessera/formats/node';
import { manualSeed, noGrad, saveSafetensors, scope, setNumThreads, tensor } from '@tessera/torch';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Gpt } from '../models/gpt.ts';
import type { GptConfig } from '../models/gpt-config.ts';
import { modelPreset } from '../models/presets.ts';
import { initialise, type Module } from '../nn/module.ts';
import { LlamaGenVq } from '../tokenizers/llamagen-vq.ts';
import { vqPreset } from '../tokenizers/vq-config.ts';
import { labelOf, type SampleEvaluationOptions, sampleEvaluation, toOriginalPixels } from './sample-evaluation.ts';

let folder: string;

beforeAll(() => {
  setNumThreads(1);
  folder = mkdtempSync(join(tmpdir(), 'tessera-evaluation-'));
  manualSeed(2);
  const { config } = modelPreset('gpt-nano', { codebookSize: 32, numClasses: 4 });
  const model = initialise((p) => new Gpt(config as GptConfig, p));
  noGrad(() => scope(() => model.state.get('output.weight')!.normal_(0, 0.3)));
  const sizes = { channels: 32, channelMultipliers: [1, 1], latentChannels: 32, codebookSize: 32, codeDim: 4 };
  const tokenizer = initialise((p) => new LlamaGenVq(vqPreset('llamagen-vq8', sizes), p));
  for (const [name, module] of [
    ['tiny', model],
    ['vq', tokenizer],
  ] as [string, Module][]) {
    saveSafetensors(join(folder, `${name}.safetensors`), module.state);
    module.dispose();
  }
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function draw(options: Partial<SampleEvaluationOptions>): Promise<Record<string, unknown>> {
  const paths = { weights: join(folder, 'tiny.safetensors'), tokenizerWeights: join(folder, 'vq.safetensors') };
  let result: Record<string, unknown> = {};
  const whole = { model: 'gpt-nano', ...paths, size: 8, numImages: 5, out: folder, ...options } as const;
  for await (const event of sampleEvaluation(whole)) if (event.kind === 'result') result = event.result;
  return result;
}

test('pixels are cut off, not rounded', () => {
  scope(() => {
    const [image] = toOriginalPixels(tensor([[[[-2, -1], [0, 2]], [[0.0039, 0.996], [1, 0]], [[0, 0], [0, 0]]]]), 2); // biome-ignore format: one picture
    expect([...image!.data]).toEqual([0, 128, 128, 0, 254, 128, 128, 255, 128, 255, 128, 128]);
  });
});

test('labels belong to the seed and the image', () => {
  const labels = Array.from({ length: 4000 }, (_, image) => labelOf(1, image, 4));
  for (let label = 0; label < 4; label++) {
    expect(labels.filter((one) => one === label).length).toBeGreaterThan(900);
  }
});

test('the tree, its names and its archive; drawn images are kept, and any batch gives the same', async () => {
  const first = await draw({ guidanceScale: 2, topK: 20, outputSize: 6, batch: 5 });
  const name = 'GPT-NANO-tiny-size-8-size-6-VQ-2-topk-20-topp-1.0-temperature-1.0-cfg-2.0-seed-0';
  expect(first.out).toBe(join(folder, name));
  const pictures = readdirSync(join(folder, name)).sort();
  expect(pictures).toEqual(['000000.png', '000001.png', '000002.png', '000003.png', '000004.png']);
  const bytes = pictures.map((picture) => readFileSync(join(folder, name, picture)));
  const archive = withFile(join(folder, `${name}.npz`), (reader) => new Map(readNpz(reader)).get('arr_0')!);
  expect(archive.shape).toEqual([5, 6, 6, 3]);

  rmSync(join(folder, name, '000003.png'));
  const old = join(folder, name, '000001.png');
  utimesSync(old, 1, 1);
  await draw({ guidanceScale: 2, topK: 20, outputSize: 6, batch: 1 });
  expect(readFileSync(join(folder, name, '000003.png'))).toEqual(bytes[3]);
});

test('what does not belong together is refused', async () => {
  await expect(draw({ model: 'gpt-b' })).rejects.toThrow(/expected gpt-b, of width 768, got 128/);
  await expect(draw({ model: 'enat-nano' })).rejects.toThrow(/Expected a GPT/);
  await expect(draw({ size: 9 })).rejects.toThrow(/whole tokens of 2 px/);
  await expect(draw({ tokenizerWeights: join(folder, 'tiny.safetensors') })).rejects.toThrow(/weights of a tokenizer/);
  await expect(draw({ weights: join(folder, 'none.pt') })).rejects.toThrow(/no such file/);
});
