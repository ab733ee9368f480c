import { mkdtempSync, readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { encodeTorchCheckpoint, OrderedDict, readNpz, type TorchWritable } from '@tessera/formats';
import { withFile } from '@tessera/formats/node';
import { manualSeed, noGrad, saveSafetensors, scope, setNumThreads, tensor } from '@tessera/torch';
import sharp from 'sharp';
import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest';
import { Enat, type EnatConfig } from '../models/enat.ts';
import { Gpt } from '../models/gpt.ts';
import type { GptConfig } from '../models/gpt-config.ts';
import { modelPreset } from '../models/presets.ts';
import { initialise, type Module } from '../nn/module.ts';
import { LlamaGenVq } from '../tokenizers/llamagen-vq.ts';
import { maskgitPreset } from '../tokenizers/maskgit-config.ts';
import { MaskgitVqgan } from '../tokenizers/maskgit-vqgan.ts';
import { vqPreset } from '../tokenizers/vq-config.ts';
import { labelOf } from './evaluation-images.ts';
import { type SampleEvaluationOptions, sampleEvaluation, toOriginalPixels } from './sample-evaluation.ts';
import { sampleTokens } from './sample-tokens.ts';
import { ImagesNpzWriter } from './write-npz.ts';

let folder: string;
const at = (name: string): string => join(folder, name);

/** A trainer's file, as data-parallel and compiled runs name its tensors. */
function saveWrapped(path: string, { state }: Module): void {
  const named = [...state].map(
    ([name, t]) => [`module._orig_mod.${name}`, { dtype: t.dtype, shape: t.shape, bytes: t.toBytes() }] as const,
  );
  writeFileSync(path, encodeTorchCheckpoint(new Map<string, TorchWritable>([['model', new OrderedDict(named)], ['steps', 5]]))); // biome-ignore format: one row
}

beforeAll(() => {
  setNumThreads(1);
  folder = mkdtempSync(join(tmpdir(), 'tessera-evaluation-'));
  manualSeed(2);
  const gpt = modelPreset('gpt-nano', { codebookSize: 32, numClasses: 4, gridSize: 4 }).config as GptConfig;
  const enat = modelPreset('enat-nano', { codebookSize: 32, numClasses: 4, gridSize: 4 }).config as EnatConfig;
  const vq = { channels: 32, channelMultipliers: [1, 1], latentChannels: 32, codebookSize: 32, codeDim: 4 };
  const maskgit = { channels: 32, channelMultipliers: [1, 1], resBlocks: 1, codebookSize: 32, codeDim: 4 };
  const modules: Record<string, Module> = {
    gpt: initialise((p) => new Gpt(gpt, p)),
    enat: initialise((p) => new Enat(enat, p)),
    vq: initialise((p) => new LlamaGenVq(vqPreset('llamagen-vq8', vq), p)),
    maskgit: initialise((p) => new MaskgitVqgan(maskgitPreset('maskgit-vqgan', maskgit), p)),
  };
  noGrad(() => scope(() => modules.gpt!.state.get('output.weight')!.normal_(0, 0.3)));
  for (const [name, module] of Object.entries(modules)) {
    saveSafetensors(at(`${name}.safetensors`), module.state);
    saveWrapped(at(`${name}.pt`), module);
    module.dispose();
  }
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));
afterEach(() => vi.unstubAllEnvs());

async function draw(options: Partial<SampleEvaluationOptions>, stopAt?: number): Promise<Record<string, unknown>> {
  const paths = { weights: at('gpt.safetensors'), tokenizerWeights: at('vq.safetensors') };
  let result: Record<string, unknown> = {};
  const stop = new AbortController();
  const whole = { model: 'gpt-nano', ...paths, size: 8, numImages: 5, out: folder, signal: stop.signal, ...options } as const; // biome-ignore format: one row
  for await (const event of sampleEvaluation(whole)) {
    if (event.kind === 'result') result = event.result;
    if (event.kind === 'progress' && event.done === stopAt) stop.abort();
  }
  return result;
}

function archiveOf(path: string): { shape: readonly number[]; data: Uint8Array } {
  const { shape, data } = withFile(path, (reader) => new Map(readNpz(reader)).get('arr_0')!);
  return { shape, data: data as Uint8Array };
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
  const name = 'GPT-NANO-gpt-size-8-size-6-VQ-2-topk-20-topp-1.0-temperature-1.0-cfg-2.0-seed-0';
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

test("a trainer's wrapped file draws the same pictures as the bare one", async () => {
  const [bare, wrapped] = [await draw({ out: at('a') }), await draw({ out: at('b'), weights: at('gpt.pt'), tokenizerWeights: at('vq.pt') })]; // biome-ignore format: one row
  expect(archiveOf(wrapped.npz as string)).toEqual(archiveOf(bare.npz as string));
  expect(new Set(archiveOf(bare.npz as string).data).size).toBeGreaterThan(10);
});

test('a masked model draws through a MaskGIT tokenizer, the same in any batch', async () => {
  const nat = { model: 'enat-nano', weights: at('enat.pt'), numHeads: 4, encoderDepth: 6, tokenizerWeights: at('maskgit.pt') } as const; // biome-ignore format: one row
  const five = await draw({ ...nat, numSteps: 3, batch: 5, out: at('c') });
  expect(basename(five.out as string)).toMatch(/^enat-enat-size-8-size-8-maskgit-vqgan-steps-3-strategy-\w{8}-seed-0$/);
  expect(readdirSync(five.out as string)).toHaveLength(5);
  const two = await draw({ ...nat, numSteps: 3, batch: 2, out: at('d') });
  expect(archiveOf(two.npz as string)).toEqual(archiveOf(five.npz as string));
  expect(archiveOf(two.npz as string).shape).toEqual([5, 8, 8, 3]);
  const sizes = { ...nat, size: 16, out: at('e') };
  await expect(draw(sizes)).rejects.toThrow('a 4x4 grid, got 16 px');
});

test('a run that was stopped goes on, and processes share one', async () => {
  const whole = archiveOf((await draw({ out: at('once'), numImages: 7, batch: 2 })).npz as string);
  await expect(draw({ out: at('twice'), numImages: 7, batch: 2 }, 2)).rejects.toThrow(/abort/i);
  const [tree] = readdirSync(at('twice')).filter((name) => !name.endsWith('.json'));
  expect(readdirSync(at(`twice/${tree}`)).length).toBeLessThan(7);
  expect(archiveOf((await draw({ out: at('twice'), numImages: 7, batch: 2 })).npz as string)).toEqual(whole);

  vi.stubEnv('WORLD_SIZE', '2');
  vi.stubEnv('RANK', '1');
  expect(await draw({ out: at('shared'), numImages: 7 })).toMatchObject({ numImages: 3 });
  vi.stubEnv('RANK', '0');
  const last = await draw({ out: at('shared'), numImages: 7 });
  expect(archiveOf(last.npz as string)).toEqual(whole);
  await expect(draw({ out: at('shared'), numImages: 7, greedy: true })).rejects.toThrow('other weights or settings');
});

test('without flags a checkpoint is sampled alike as pictures and as tokens', async () => {
  const nat = { model: 'enat-nano', weights: at('enat.safetensors'), tokenizerWeights: at('maskgit.safetensors') } as const; // biome-ignore format: one row
  for (const choice of [{}, nat]) {
    const { model = 'gpt-nano', weights = at('gpt.safetensors') } = choice as Partial<typeof nat>;
    const { settings } = await draw({ ...choice, out: at('own'), numImages: 1 });
    const events = sampleTokens({ weights, preset: model, tokens: at(`own-${model}.npy`), numImages: 1 });
    let strategy: unknown;
    for await (const event of events) if (event.kind === 'result') strategy = event.result.strategy;
    expect(strategy).toEqual(settings);
    expect(settings).toMatchObject(model === 'gpt-nano' ? { guidanceScale: 2 } : { numSteps: 12 });
  }
});

test('chosen classes, and the demo grid', async () => {
  const chosen = await draw({ out: at('chosen'), classes: ['2'], numImages: undefined, perClass: 3 });
  expect(chosen).toMatchObject({ numImages: 3 });
  const demo = await draw({ out: at('demo'), demoGrid: true, numImages: undefined });
  expect(demo).toMatchObject({ classes: [0, 0, 1, 1, 2, 2, 3, 3], settings: { guidanceScale: 4, topK: 2000 } });
  const { width, height } = await sharp(demo.file as string).metadata();
  expect(width! / height!).toBeGreaterThan(1.5);
  await expect(draw({ out: at('x'), numImages: undefined })).rejects.toThrow('--num-images');
});

test('an archive with 64-bit fields reads the same, and one that fails leaves nothing', () => {
  const picture = (seed: number) => ({
    width: 2,
    height: 2,
    data: Uint8Array.from({ length: 12 }, (_, i) => i + seed),
  });
  for (const zip64 of [false, true]) {
    const writer = new ImagesNpzWriter(at('some.npz'), 3, 2, { zip64 });
    for (const seed of [0, 20, 40]) writer.add(picture(seed));
    writer.finish();
    writer.dispose();
    const { shape, data } = archiveOf(at('some.npz'));
    expect([shape, [...data.subarray(0, 3)], data[35]]).toEqual([[3, 2, 2, 3], [0, 1, 2], 51]);
  }
  const cut = new ImagesNpzWriter(at('cut.npz'), 3, 2);
  cut.add(picture(0));
  expect(() => cut.finish()).toThrow('24 bytes too few');
  cut.dispose();
  expect(readdirSync(folder).filter((name) => name.startsWith('cut'))).toEqual([]);
});

test('pictures of other weights of the same size are not gone on with', async () => {
  const weights = at('changed.safetensors');
  const [of, changed] = [readFileSync(at('gpt.safetensors')), readFileSync(at('gpt.safetensors'))];
  changed[changed.length - 3]! ^= 1; // one bit of one weight
  const way = { out: at('changed'), weights, numImages: 1 };
  writeFileSync(weights, of);
  await draw(way);
  await draw(way);
  writeFileSync(weights, changed);
  await expect(draw(way)).rejects.toThrow('other weights or settings');
  writeFileSync(weights, of);
  const tokenizerWeights = at('changed-vq.safetensors');
  const vq = readFileSync(at('vq.safetensors'));
  vq[vq.length - 3]! ^= 1;
  writeFileSync(tokenizerWeights, vq);
  await expect(draw({ ...way, tokenizerWeights })).rejects.toThrow('other weights or settings');
});

test('int8 draws pictures too', async () => {
  const bytes = await draw({ out: at('int8'), dtype: 'int8' });
  expect(archiveOf(bytes.npz as string).shape).toEqual([5, 8, 8, 3]);
  await expect(draw({ out: at('int8') })).rejects.toThrow('other weights or settings');
  const nat = { model: 'enat-nano', weights: at('enat.pt'), tokenizerWeights: at('maskgit.pt') } as const;
  const drawn = await draw({ ...nat, dtype: 'int8', out: at('int8-nat') });
  expect(archiveOf(drawn.npz as string).shape).toEqual([5, 8, 8, 3]);
});

test('what does not belong together is refused', async () => {
  await expect(draw({ model: 'gpt-b' })).rejects.toThrow(
    'expected gpt-b, with cls_embedding.embedding_table.weight [1001, 768]; it is [5, 128].',
  );
  await expect(draw({ model: 'gpt-micro' })).rejects.toThrow('expected gpt-micro, with');
  await expect(draw({ model: 'enat-nano' })).rejects.toThrow('expected enat-nano, got weights of gpt');
  await expect(draw({ size: 9 })).rejects.toThrow(/whole tokens of 2 px/);
  await expect(draw({ tokenizerWeights: at('gpt.safetensors') })).rejects.toThrow(/expected a tokenizer, but/);
  await expect(draw({ weights: at('none.pt') })).rejects.toThrow(/no such file/);
});
