import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { bytesReader, readNpz, readPngText } from '@tessera/formats';
import { memoryStats, setNumThreads } from '@tessera/torch';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { PipelineEvent } from './events.ts';
import { openModelFolder } from './model-folder.ts';
import { type SampleOptions, sample } from './sample.ts';
import { TINY_CLASSES, writeTinyModel } from './tiny-model.test-support.ts';

let folder: string;
let model: string;

beforeAll(() => {
  // Tiny tensors: a second thread only waits, and much longer where cores are shared.
  setNumThreads(1);
  folder = mkdtempSync(join(tmpdir(), 'tessera sample '));
  model = join(folder, 'tiny');
  writeTinyModel(model);
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function collect(options: Omit<SampleOptions, 'model'>): Promise<PipelineEvent[]> {
  const events: PipelineEvent[] = [];
  for await (const event of sample({ model, ...options })) events.push(event);
  return events;
}

/** The pixels of a run, [N][16 · 16 · 3], through its npz. */
async function pixelsOf(name: string, options: Omit<SampleOptions, 'model'>): Promise<Buffer[]> {
  const npz = join(folder, `${name}.npz`);
  await collect({ ...options, out: join(folder, name), npz });
  const { dtype, shape, data } = readNpz(bytesReader(readFileSync(npz))).get('arr_0')!;
  expect(dtype).toBe('uint8');
  expect(shape.slice(1)).toEqual([16, 16, 3]);
  return Array.from({ length: shape[0]! }, (_, i) => Buffer.from(data.slice(i * 768, (i + 1) * 768) as Uint8Array));
}

describe('sample', () => {
  it('makes the same image i for any batch and any number of images', async () => {
    const [seven, two, more] = [
      await pixelsOf('a', { numImages: 7, seed: 5 }),
      await pixelsOf('b', { numImages: 7, seed: 5, batch: 2 }),
      await pixelsOf('c', { numImages: 9, seed: 5, batch: 4 }),
    ];
    expect(seven).toHaveLength(7);
    expect(two).toEqual(seven);
    expect(more.slice(0, 7)).toEqual(seven);
    expect(new Set(more.map((image) => image.toString('hex'))).size).toBe(9);
    const other = await pixelsOf('d', { numImages: 7, seed: 6 });
    expect(other[0]!.equals(seven[0]!)).toBe(false);
  });

  it('computes in bfloat16 where it is asked to, the tokenizer in float32', async () => {
    const [whole, half] = [
      await pixelsOf('f32', { numImages: 4 }),
      await pixelsOf('bf16', { numImages: 4, dtype: 'bfloat16' }),
    ];
    expect(half).toHaveLength(4);
    const opened = openModelFolder(model, 'bfloat16');
    expect([...opened.model.state.values()].every((tensor) => tensor.dtype === 'bfloat16')).toBe(true);
    expect([...opened.tokenizer.state.values()].every((tensor) => tensor.dtype === 'float32')).toBe(true);
    opened.dispose();
    expect(whole.every((pixels, i) => pixels.length === half[i]!.length)).toBe(true);
  });

  it('writes pictures that say what made them, and a grid with one row a class', async () => {
    const out = join(folder, 'pictures');
    const events = await collect({ perClass: 2, seed: 3, out, reveal: true, revealGif: true });
    const files = readdirSync(out).sort();
    expect(files).toEqual([
      '00000-apples-s3.png',
      '00001-pears-ripe-s3.png',
      '00002-7-s3.png',
      '00003-apples-s3.png',
      '00004-pears-ripe-s3.png',
      '00005-7-s3.png',
      'grid.png',
      'reveal.gif',
      'reveal.webp',
    ]);
    const texts = readPngText(readFileSync(join(out, files[4]!)));
    expect(texts).toMatchObject({ Class: 'pears, ripe', Seed: '3', Image: '4', Model: 'tiny' });
    expect(JSON.parse(texts.Strategy!).steps).toHaveLength(3);
    // Two columns and three rows of 16 px, six times as large, with gaps of 2.
    expect(await sharp(join(out, 'grid.png')).metadata()).toMatchObject({ width: 198, height: 296 });
    expect((await sharp(join(out, 'reveal.webp')).metadata()).pages).toBe(4);
    expect(events.at(-1)).toMatchObject({ kind: 'result', result: { numImages: 6, classes: TINY_CLASSES, out } });
  });

  it('takes class names, with commas inside too, and numbers', async () => {
    const out = join(folder, 'classes');
    const events = await collect({ classes: ['pears, ripe', '0'], perClass: 1, out });
    expect(events.at(-1)).toMatchObject({ result: { classes: ['pears, ripe', 'apples'] } });
    // "7" is a name here, and names come first.
    expect((await collect({ classes: ['7,apples'], perClass: 1, out: `${out}-7` })).at(-1)).toMatchObject({
      result: { classes: ['7', 'apples'] },
    });
  });

  it('draws the same pictures over, and refuses a folder with those of another run', async () => {
    const out = join(folder, 'again');
    await collect({ numImages: 3, out });
    await collect({ numImages: 3, out });
    await expect(collect({ numImages: 2, out })).rejects.toThrow(
      /again holds 1 pictures.*00002-7-s0.png.*another --out/,
    );
    await expect(collect({ numImages: 3, seed: 1, out })).rejects.toThrow(/holds 3 pictures/);
    expect(readdirSync(out)).toHaveLength(4);
  });

  it.each([
    [{ classes: ['aples'] }, 'UNKNOWN_CLASS', 'did you mean "apples"?'],
    [{ classes: ['3'] }, 'UNKNOWN_CLASS', 'from 0 to 2'],
    [{ classes: ['zebra'] }, 'UNKNOWN_CLASS', 'the classes are apples, pears, ripe, 7'],
    [{ numImages: 2, perClass: 2 }, 'OPTIONS', 'got both'],
    [{ numSteps: 5 }, 'OPTIONS', 'a list of 3 steps'],
    [{ strategy: 'cosin' }, 'OPTIONS', 'did you mean "cosine"?'],
  ])('refuses %j', async (options, code, message) => {
    const failure = collect({ ...options, out: join(folder, 'refused') });
    await expect(failure).rejects.toMatchObject({ code, message: expect.stringContaining(message) });
    expect(readdirSync(folder)).not.toContain('refused');
  });

  it('stops at a step when aborted, and leaves no tensors behind', async () => {
    const before = memoryStats().liveTensors;
    const controller = new AbortController();
    const run = sample({ model, numImages: 20, batch: 4, out: join(folder, 'aborted'), signal: controller.signal });
    await expect(
      (async () => {
        for await (const event of run) if (event.kind === 'progress' && event.done >= 4) controller.abort();
      })(),
    ).rejects.toThrow(/abort/);
    expect(memoryStats().liveTensors).toBe(before);
  });
});
