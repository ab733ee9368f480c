import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { scope } from '@tessera/torch';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { encodePng } from '../data/contact-sheet.ts';
import { decodeImage } from '../data/image.ts';
import { TokenDataset, TokenDatasetWriter } from '../data/token-dataset.ts';
import { openStoredTokens } from '../data/tokens/open-tokens.ts';
import { imageVariants, recipeSchema } from '../data/variants.ts';
import { type ConvertOptions, convertTokens } from './convert-tokens.ts';
import type { PipelineEvent } from './events.ts';
import { openTokenizer } from './model-folder.ts';
import { writeTinyModel } from './tiny-model.test-support.ts';
import { encodePictures } from './tokenize/encode-share.ts';
import { parseShare, shareOfRank } from './tokenize/work-share.ts';
import { type TokenizeOptions, tokenize } from './tokenize.ts';
import { train } from './train.ts';

let folder: string;
let images: string;
let model: string;
let out: string;
let runs = 0;
const NUM_IMAGES = 11;
/** Of the list: the one that is no image. */
const BROKEN = 4;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'tessera tokenize '));
  images = join(folder, 'images');
  model = join(folder, 'model');
  writeTinyModel(model);
  for (let i = 0; i < NUM_IMAGES; i++) {
    const path = pathOf(i);
    mkdirSync(join(path, '..'), { recursive: true });
    const data = Uint8Array.from({ length: 20 * 18 * 3 }, (_, k) => (k * (i + 3) * 7) % 251);
    writeFileSync(path, i === BROKEN ? 'no image' : await encodePng({ width: 20, height: 18, data }));
  }
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));
beforeEach(() => {
  out = join(folder, `out-${runs++}`);
});

/** Image i of the sorted list: classes n01 (0..5) and n02 (6..10). */
function pathOf(i: number): string {
  return join(images, i < 6 ? 'n01' : 'n02', `${String(i).padStart(2, '0')}.png`);
}

async function run(changes: Partial<TokenizeOptions> = {}): Promise<PipelineEvent[]> {
  const events: PipelineEvent[] = [];
  for await (const event of tokenize({ images, out, tokenizer: model, batch: 4, workers: 1, ...changes })) {
    events.push(event);
  }
  return events;
}

const resultOf = (events: PipelineEvent[]): Record<string, unknown> =>
  (events.at(-1) as Extract<PipelineEvent, { kind: 'result' }>).result;

/** What the tokens of an image should be, made one by one without pool, parts and layouts. */
async function expected(i: number, fields: object): Promise<number[]> {
  const recipe = recipeSchema.parse({ size: 16, ...fields });
  const tokenizer = openTokenizer(join(model, 'tokenizer'));
  try {
    return [...encodePictures(tokenizer, imageVariants(await decodeImage(pathOf(i)), recipe), 16)];
  } finally {
    tokenizer.dispose();
  }
}

const GOOD = Array.from({ length: NUM_IMAGES }, (_, i) => i).filter((i) => i !== BROKEN);

test('a folder becomes a data set; what cannot be read is listed and left out', async () => {
  const events = await run();
  expect(resultOf(events)).toMatchObject({ images: 10, broken: 1, gridSize: 4, picturesPerImage: 1, finished: true });
  const dataset = TokenDataset.open(out);
  expect([dataset.numRows, dataset.classes]).toEqual([10, ['n01', 'n02']]);
  const stored = Array.from(dataset.images(), ({ label, tokens }) => [label, ...tokens]);
  for (const [row, i] of GOOD.entries()) expect(stored[row]).toEqual([i < 6 ? 0 : 1, ...(await expected(i, {}))]);
  dataset.dispose();
  const report = readFileSync(`${out}.broken.jsonl`, 'utf8').trim().split('\n');
  expect(report.map((line) => JSON.parse(line))).toEqual([
    { path: 'n01/04.png', reason: expect.stringMatching(/04\.png/) },
  ]);
  expect(existsSync(`${out}.work`)).toBe(false);
  const progress = events.filter((event) => event.kind === 'progress' && event.stage === 'tokens');
  expect(progress.at(-1)).toMatchObject({ done: NUM_IMAGES, total: NUM_IMAGES, detail: '1 broken' });

  // The same again: nothing to do, also where a kill left half of the working folder. Something else: refused.
  mkdirSync(`${out}.work`);
  writeFileSync(join(`${out}.work`, 'part-00000-of-00001.bin'), 'what is left');
  const again = await run();
  expect(resultOf(again)).toMatchObject({ finished: true });
  expect(again.some((event) => event.kind === 'progress')).toBe(false);
  expect(existsSync(`${out}.work`)).toBe(false);
  await expect(run({ variants: 'flip' })).rejects.toMatchObject({ code: 'TOKENIZE_TAKEN' });
  // A picture that was mended meanwhile is another one.
  const broken = readFileSync(pathOf(BROKEN));
  writeFileSync(pathOf(BROKEN), readFileSync(pathOf(0)));
  await expect(run()).rejects.toMatchObject({ code: 'TOKENIZE_TAKEN' });
  writeFileSync(pathOf(BROKEN), broken);
});

test('any number of shares, in any order, makes the same bytes', async () => {
  await run({ variants: 'flip' });
  const whole = out;
  out = join(folder, 'shared');
  const first = resultOf(await run({ variants: 'flip', share: { index: 2, count: 3 } }));
  expect(first).toMatchObject({ finished: false, missing: [0, 1] });
  await run({ variants: 'flip', share: { index: 0, count: 3 } });
  expect(existsSync(out)).toBe(false);
  // Other settings do not join the job.
  await expect(run({ share: { index: 1, count: 3 } })).rejects.toMatchObject({ code: 'TOKENIZE_PLAN' });
  expect(resultOf(await run({ variants: 'flip', share: { index: 1, count: 3 } }))).toMatchObject({ finished: true });
  for (const file of readdirSync(whole)) {
    expect(readFileSync(join(out, file)).equals(readFileSync(join(whole, file))), file).toBe(true);
  }
});

test('a part that ends anywhere is gone on with, to the same bytes', async () => {
  await run();
  const whole = readFileSync(join(out, 'tokens-00000.safetensors'));
  out = join(folder, 'resumed');
  // Two shares, so that the part stays to be looked at.
  const share = { index: 0, count: 2 };
  await run({ share });
  const part = join(`${out}.work`, 'part-00000-of-00002.bin');
  const { size } = statSync(part);
  for (const cut of [size - 1, 17 * 4, 1]) {
    truncateSync(part, Math.min(size, cut));
    await run({ share });
    expect(statSync(part).size).toBe(size);
  }
  await run({ share: { index: 1, count: 2 } });
  expect(readFileSync(join(out, 'tokens-00000.safetensors')).equals(whole)).toBe(true);
  expect(readFileSync(`${out}.broken.jsonl`, 'utf8').trim().split('\n').length).toBe(1);
});

test('more shares than batches, all at once, make the same tokens', async () => {
  await run();
  const whole = readFileSync(join(out, 'tokens-00000.safetensors'));
  out = join(folder, 'many shares');
  await Promise.all(Array.from({ length: 6 }, (_, index) => run({ share: { index, count: 6 } })));
  expect(readFileSync(join(out, 'tokens-00000.safetensors')).equals(whole)).toBe(true);
});

test("the reference systems' layouts, and back and forth between all three", async () => {
  const npy = join(folder, 'train.npy');
  await run({ out: npy, layout: 'nat-npy', variants: 'flip' });
  const rows = openStoredTokens(npy);
  expect(rows.numRows).toBe(20);
  const picture = await expected(GOOD[3]!, { variants: 'flip' });
  scope(() => {
    const { tokens, labels } = rows.rows([3, 13], undefined);
    expect([tokens.toNumbers(), labels.toNumbers()]).toEqual([picture, [0, 0]]);
  });
  rows.dispose();

  type Layout = 'shards' | 'nat-npy' | 'llamagen';
  const convert = async (
    from: string,
    to: string,
    layout: Layout,
    more: Partial<ConvertOptions> = {},
  ): Promise<void> => {
    for await (const _ of convertTokens({ tokens: from, out: to, layout, ...more }));
  };
  const shards = join(folder, 'as-shards');
  const tree = join(folder, 'as-tree');
  const again = join(folder, 'again.npy');
  await convert(npy, shards, 'shards');
  await convert(shards, tree, 'llamagen');
  await convert(tree, again, 'nat-npy');
  expect(readFileSync(again).equals(readFileSync(npy))).toBe(true);
  const direct = join(folder, 'direct');
  await run({ out: direct, layout: 'llamagen', variants: 'flip' });
  for (const name of ['imagenet16_codes/9.npy', 'imagenet16_labels/9.npy', 'imagenet16_codes/0.npy']) {
    expect(readFileSync(join(direct, name)).equals(readFileSync(join(tree, name))), name).toBe(true);
  }
  await expect(convert(shards, tree, 'llamagen')).rejects.toMatchObject({ code: 'CONVERT_TAKEN' });
  // What does not say how large its pictures were is not given a size.
  const [unsized, unsizedNpy] = [join(folder, 'unsized'), join(folder, 'unsized.npy')];
  const writer = new TokenDatasetWriter(unsized, { gridSize: 4, codebookSize: 32, classes: ['a'] });
  writer.add(0, new Array<number>(16).fill(1));
  writer.finish();
  await convert(unsized, unsizedNpy, 'nat-npy');
  expect(openStoredTokens(unsizedNpy).imageSize).toBeUndefined();
  const never = join(folder, 'never');
  await expect(convert(shards, never, 'llamagen', { size: 64 })).rejects.toThrow(
    'was made of images of 16 px: leave --size 64 out',
  );
  await expect(convert(shards, `${never}.npy`, 'nat-npy', { flip: true })).rejects.toThrow(
    '--flip is of files that others wrote',
  );
  expect(existsSync(never)).toBe(false);
});

test('ten-crop at two ranges is two trees, paired by name', async () => {
  const tree = join(folder, 'code_flip_ten_crop');
  await run({ out: tree, layout: 'llamagen', variants: 'ten-crop', cropRanges: [1.1, 1.05] });
  const all = await expected(GOOD[9]!, { variants: 'ten-crop', cropRanges: [1.1, 1.05] });
  for (const [i, path] of [tree, `${tree}_105`].entries()) {
    const tokens = openStoredTokens(path);
    expect([tokens.numRows, tokens.picturesPerImage]).toEqual([10, 10]);
    const last = [...tokens.images()].at(-1)!;
    expect([...last.tokens]).toEqual(all.slice(i * 160, (i + 1) * 160));
  }
});

test('training reads every layout and mixtures, and refuses what does not fit before its first step', async () => {
  const tree = join(folder, 'code_flip_ten_crop');
  const shards = join(folder, 'as-shards');
  const small = { model: 'enat-nano', steps: 1, globalBatch: 4, learningRate: 1e-3, warmupSteps: 0, seed: 0 } as const;
  const trained = async (data: string[], more: object = {}): Promise<void> => {
    const run = join(folder, `run-${runs++}`);
    for await (const _ of train({ ...small, data, out: run, tokenizer: model, ...more }));
    expect(existsSync(join(run, 'model', 'config.json'))).toBe(true);
  };
  await trained([tree]);
  await trained([join(folder, 'train.npy'), shards], { mix: [1, 2] });
  const refused = (code: string, data: string[], more: object = {}): Promise<void> =>
    expect(trained(data, more)).rejects.toMatchObject({ code });
  await refused('TOKENS_SIZE', [tree], { size: 32 });
  await refused('TOKENS_SIZE', [shards], { size: 32 });
  await refused('TOKENS_MISSING', [join(folder, 'nowhere')]);
  await refused('TOKENS_WEIGHTS', [shards, tree], { mix: [1] });
  const other = join(folder, 'other-codes');
  const writer = new TokenDatasetWriter(other, { gridSize: 4, codebookSize: 64, classes: ['a'] });
  writer.add(0, new Array(16).fill(63));
  writer.finish();
  await refused('TOKENS_CODEBOOK', [other]);
  await trained([shards], { verify: true });
  const shard = join(shards, 'tokens-00000.safetensors');
  const bytes = readFileSync(shard);
  bytes[bytes.length - 1]! ^= 1;
  writeFileSync(shard, bytes);
  await refused('TOKENS_BROKEN', [shards], { verify: true });
}, 60_000);

test('mistakes are told before anything is encoded', async () => {
  const refused = (code: string, changes: Partial<TokenizeOptions>): Promise<void> =>
    expect(run(changes)).rejects.toMatchObject({ code });
  await refused('LAYOUT', { layout: 'nat-npy' });
  await refused('LAYOUT', { out: `${out}.npy` });
  await refused('IMAGE_SIZE', { size: 18 });
  await refused('CROP_RANGE', { cropRanges: [1.1] });
  await refused('TOKENIZER', { tokenizer: 'llamagen-vq16' });
  await refused('TOKENIZER', { tokenizer: join(folder, 'nowhere') });
  await refused('FOLDER_MISSING', { images: join(folder, 'nowhere') });
  mkdirSync(join(folder, 'empty'), { recursive: true });
  await refused('FOLDER_EMPTY', { images: join(folder, 'empty') });
  expect(existsSync(`${out}.work`)).toBe(false);
  expect(() => parseShare('3/3')).toThrow(/0 to n - 1/);
  expect(shareOfRank({ RANK: '1', WORLD_SIZE: '4' })).toEqual({ index: 1, count: 4 });
  expect(shareOfRank({})).toEqual({ index: 0, count: 1 });
});

test('images that cannot be read at all are an error', async () => {
  const bad = join(folder, 'bad', 'a');
  mkdirSync(bad, { recursive: true });
  writeFileSync(join(bad, '1.png'), 'x');
  await expect(run({ images: join(folder, 'bad') })).rejects.toMatchObject({ code: 'FOLDER_ALL_BROKEN' });
});
