import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { encodePng } from './contact-sheet.ts';
import { ImagePool, type PreparedImage } from './image-pool.ts';
import type { ImagePlace } from './prepare-image.ts';
import { imageVariants, recipeSchema } from './variants.ts';

let folder: string;
let pool: ImagePool | undefined;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tessera pool '));
});
afterEach(async () => {
  await pool?.close();
  rmSync(folder, { recursive: true, force: true });
});

const RECIPE = recipeSchema.parse({ size: 4, variants: 'flip' });
const place = (path: string): ImagePlace => ({ path, relativePath: path });

function picture(n: number): { width: number; height: number; data: Uint8Array } {
  return { width: 6, height: 4, data: Uint8Array.from({ length: 72 }, (_, i) => (i * 3 + n * 17) % 256) };
}

async function all(places: ImagePlace[], ahead: number): Promise<PreparedImage[]> {
  const results: PreparedImage[] = [];
  for await (const result of pool!.prepare(places, { ahead })) results.push(result);
  return results;
}

test('pixels come in the order of the list, broken images between them', async () => {
  const places: ImagePlace[] = [];
  for (let n = 0; n < 12; n++) {
    const path = join(folder, `${n}.png`);
    writeFileSync(path, n === 5 ? 'no picture' : await encodePng(picture(n)));
    places.push(place(path));
  }
  // One as a member of an archive, and one that is not all there.
  const bytes = await encodePng(picture(99));
  const archive = join(folder, 'a.tar');
  writeFileSync(archive, Buffer.concat([Buffer.alloc(512), bytes]));
  places.push({ path: archive, relativePath: 'in.png', range: { offset: 512, size: bytes.length } });
  places.push({ path: archive, relativePath: 'out.png', range: { offset: 512, size: bytes.length + 1 } });
  pool = new ImagePool(RECIPE, { workers: 2 });
  const results = await all(places, 5);
  const expected = (n: number): PreparedImage => ({ pixels: imageVariants(picture(n), RECIPE) });
  for (let n = 0; n < 12; n++) if (n !== 5) expect(results[n], `picture ${n}`).toEqual(expected(n));
  expect(results[5]).toEqual({ reason: expect.stringContaining('5.png') });
  expect(results[12]).toEqual(expected(99));
  expect(results[13]).toEqual({ reason: expect.stringContaining(`Expected ${bytes.length + 1} bytes`) });
});

test('no more than `ahead` images are asked for before one is taken', async () => {
  let asked = 0;
  function* places(): Generator<ImagePlace> {
    while (asked++ < 50) yield place(join(folder, 'missing.png'));
  }
  pool = new ImagePool(RECIPE, { workers: 1 });
  const results = pool.prepare(places(), { ahead: 3 });
  await results.next();
  expect(asked).toBe(3);
  await results.next();
  expect(asked).toBe(4);
});

test('an abort ends the list', async () => {
  const controller = new AbortController();
  pool = new ImagePool(RECIPE, { workers: 1 });
  const results = pool.prepare([place('a'), place('b')], { ahead: 2, signal: controller.signal });
  await results.next();
  controller.abort(new Error('enough'));
  await expect(results.next()).rejects.toThrow('enough');
});

/** A worker that answers with the length of a path and dies at "die". */
function fakeWorker(extra = ''): URL {
  const path = join(folder, 'fake-worker.mjs');
  writeFileSync(
    path,
    `import { parentPort } from 'node:worker_threads';
     ${extra}
     parentPort.on('message', ({ id, place }) => {
       if (place.path === 'die') process.exit(3);
       parentPort.postMessage({ id, pixels: Uint8Array.of(place.path.length) });
     });
     parentPort.postMessage({ ready: true });`,
  );
  return pathToFileURL(path);
}

test('a worker that dies takes one image with it', async () => {
  pool = new ImagePool(RECIPE, { workers: 1, worker: fakeWorker() });
  const results = await all(['a', 'bb', 'die', 'dddd', 'die', 'ffffff'].map(place), 4);
  expect(results.map((result) => ('pixels' in result ? result.pixels[0] : result.reason))).toEqual([
    1,
    2,
    'die: the worker died on it (it ended)',
    4,
    'die: the worker died on it (it ended)',
    6,
  ]);
});

test('a worker that cannot start is an error, now and later', async () => {
  pool = new ImagePool(RECIPE, { workers: 1, worker: fakeWorker("throw new Error('no sharp here');") });
  await expect(all([place('a')], 1)).rejects.toThrow('no sharp here');
  await expect(all([place('b')], 1)).rejects.toThrow('no sharp here');
});
