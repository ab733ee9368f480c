import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { memoryStats, setNumThreads } from '@tessera/torch';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { decodeImage } from '../data/image.ts';
import { boxMask, outpainted, tokenMask } from './edit/region.ts';
import { type EditOptions, edit } from './edit.ts';
import type { PipelineEvent } from './events.ts';
import { saveStrategy } from './named-strategy-files.ts';
import { writeTinyModel } from './tiny-model.test-support.ts';

let folder: string;
let model: string;
let image: string;

beforeAll(async () => {
  setNumThreads(1);
  folder = mkdtempSync(join(tmpdir(), 'edit '));
  model = join(folder, 'tiny');
  writeTinyModel(model);
  image = join(folder, 'picture.png');
  const pixels = Uint8Array.from({ length: 16 * 16 * 3 }, (_, i) => (i * 37) % 256);
  await sharp(pixels, { raw: { width: 16, height: 16, channels: 3 } })
    .png()
    .toFile(image);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function run(options: Partial<EditOptions> & { out: string }): Promise<PipelineEvent[]> {
  const events: PipelineEvent[] = [];
  for await (const event of edit({ model, image, ...options })) events.push(event);
  return events;
}

async function pictures(out: string): Promise<Uint8Array[]> {
  const names = readdirSync(out).filter((name) => /^\d+-s/.test(name));
  return Promise.all(names.sort().map(async (name) => (await decodeImage(join(out, name))).data));
}

describe('edit', () => {
  it('keeps the pixels outside of a box when blending, and changes the inside', async () => {
    const before = memoryStats().liveTensors;
    const out = join(folder, 'box');
    const events = await run({
      out,
      box: { x: 4, y: 4, width: 5, height: 4 },
      class: 'apples',
      blend: true,
      numImages: 3,
    });
    // 4 px a token: the box touches two columns and one row of tokens.
    expect(events.at(-1)).toMatchObject({ result: { tokensMade: 2, class: 'apples', numImages: 3 } });
    const original = (await decodeImage(image)).data;
    const made = await pictures(out);
    expect(made).toHaveLength(3);
    for (const picture of made) {
      let inside = 0;
      for (let i = 0; i < 256; i++) {
        const [x, y] = [i % 16, Math.floor(i / 16)];
        const same = [0, 1, 2].every((c) => picture[3 * i + c] === original[3 * i + c]);
        if (x >= 4 && x < 9 && y >= 4 && y < 8) inside += same ? 0 : 1;
        else expect(same).toBe(true);
      }
      expect(inside).toBeGreaterThan(10);
    }
    expect(memoryStats().liveTensors).toBe(before);
  });

  it('is a function of the seed, whatever the number of results', async () => {
    const [one, four] = [join(folder, 'one'), join(folder, 'four')];
    await run({ out: one, variations: 0.5, seed: 4 });
    await run({ out: four, variations: 0.5, seed: 4, numImages: 4 });
    const [first] = await pictures(one);
    const all = await pictures(four);
    expect(all[0]).toEqual(first);
    expect(new Set(all.map(String)).size).toBe(4);
  });

  it('leaves no pictures of another edit among its own', async () => {
    const out = join(folder, 'again');
    await run({ out, variations: 0.5, numImages: 2 });
    const before = readdirSync(out);
    await expect(run({ out, variations: 0.5, numImages: 1 })).rejects.toThrow(
      `${out} holds 1 pictures that this run does not draw, such as 00001-s0.png: take another --out, or remove them.`,
    );
    expect(readdirSync(out)).toEqual(before);
    await run({ out, variations: 0.5, numImages: 3 });
    expect(await pictures(out)).toHaveLength(3);
    const two = run({ out: join(folder, 'two'), variations: 0.5, class: 'apples,1' });
    await expect(two).rejects.toThrow('Expected one class of what is made, got 2 ("apples,1")');
  });

  it('writes pictures batch by batch, and a grid that stays a picture', async () => {
    const out = join(folder, 'many');
    const there: string[][] = [];
    for await (const event of edit({ model, image, out, variations: 0.5, numImages: 20 })) {
      if (event.kind === 'progress') there.push(readdirSync(out));
    }
    expect(there.map(({ length }) => length)).toEqual([16, 20]);
    expect(there[1]!.sort().at(-1)).toBe('00019-s0.png');
    // 21 tiles of 96 px with gaps of 2, the given picture first.
    expect(await sharp(join(out, 'grid.png')).metadata()).toMatchObject({ width: 492, height: 492 });
  });

  it('takes the strategies that the model folder keeps by name', async () => {
    saveStrategy(model, 'kept', join(model, 'strategy.yaml'));
    const events = await run({ out: join(folder, 'named'), variations: 0.5, strategy: 'kept' });
    expect(events.at(-1)).toMatchObject({ result: { strategy: { numSteps: 3 } } });
  });

  it('asks for a class where the model never learned to do without one', async () => {
    const config = JSON.parse(readFileSync(join(model, 'config.json'), 'utf8')) as object;
    const labelled = join(folder, 'labelled');
    cpSync(model, labelled, { recursive: true });
    writeFileSync(join(labelled, 'config.json'), JSON.stringify({ ...config, nullClass: false }));
    const how = { model: labelled, variations: 0.5, guidanceScale: 1, out: join(folder, 'with-class') };
    await expect(run(how)).rejects.toMatchObject({ code: 'OPTIONS', message: expect.stringContaining('--class') });
    expect((await run({ ...how, class: 'apples' })).at(-1)).toMatchObject({ result: { class: 'apples' } });
  });

  it('takes a mask image, of the size of the picture or of the model', async () => {
    const mask = join(folder, 'mask.png');
    const light = Uint8Array.from({ length: 256 }, (_, i) => (i % 16 < 4 ? 255 : 0));
    await sharp(light, { raw: { width: 16, height: 16, channels: 1 } })
      .png()
      .toFile(mask);
    const events = await run({ out: join(folder, 'masked'), mask });
    expect(events.at(-1)).toMatchObject({ result: { tokensMade: 4 } });
    const other = join(folder, 'other.png');
    await sharp(light.slice(0, 240), { raw: { width: 15, height: 16, channels: 1 } })
      .png()
      .toFile(other);
    await expect(run({ out: join(folder, 'refused'), mask: other })).rejects.toMatchObject({
      code: 'MASK_SIZE',
      message: expect.stringContaining('got 15×16'),
    });
  });

  it('outpaints: the tokens of the picture inside stay', async () => {
    const events = await run({ out: join(folder, 'wide'), outpaint: { left: 4, top: 4, right: 4, bottom: 4 } });
    expect(events.at(-1)).toMatchObject({ result: { tokensMade: 12 } });
  });

  it.each([
    [{}, 'OPTIONS', 'one of a box'],
    [{ variations: 0.5, box: { x: 0, y: 0, width: 4, height: 4 } }, 'OPTIONS', 'one of a box'],
    [{ box: { x: 10, y: 0, width: 8, height: 4 } }, 'MASK_SIZE', 'got 8×4 at 10, 0'],
    [{ outpaint: { left: 8, top: 0, right: 8, bottom: 0 } }, 'MASK_SIZE', 'got 8, 0, 8, 0'],
    [{ variations: 0.5, class: 'aples' }, 'UNKNOWN_CLASS', 'did you mean "apples"?'],
    [{ variations: 0 }, 'OPTIONS', 'got 0'],
  ])('refuses %j', async (options, code, message) => {
    const failure = run({ ...options, out: join(folder, 'refused') });
    await expect(failure).rejects.toMatchObject({ code, message: expect.stringContaining(message) });
  });
});

describe('regions', () => {
  it('a token is made where any of its pixels is', () => {
    const mask = boxMask({ x: 3, y: 7, width: 2, height: 1 }, 16);
    const tokens = tokenMask(mask, 16, 4);
    expect(tokens.flatMap((marked, i) => (marked ? [i] : []))).toEqual([4, 5]);
  });

  it('an outpainted picture lies inside its margins, resized to cover', () => {
    const picture = { width: 8, height: 4, data: new Uint8Array(96).fill(200) };
    const { canvas, mask } = outpainted(picture, { left: 2, top: 4, right: 6, bottom: 4 }, 16);
    expect(mask.reduce((sum, one) => sum + one, 0)).toBe(256 - 64);
    expect([canvas.data[0], canvas.data[3 * (4 * 16 + 2)], canvas.data[3 * (11 * 16 + 9)]]).toEqual([128, 200, 200]);
  });
});
