import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { encodeTorchCheckpoint, type TensorToWrite, type TorchWritable } from '@tessera/formats';
import { memoryStats, saveSafetensors, scope, setNumThreads, zeros } from '@tessera/torch';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { encodePng } from '../data/contact-sheet.ts';
import type { PipelineEvent } from './events.ts';
import { firstTokenizer } from './first-tokenizer.ts';
import { openTokenizer } from './model-folder.ts';
import { openRecipe } from './tokenizer-recipes.ts';
import { type TrainTokenizerOptions, trainTokenizerOnImages } from './train-tokenizer.ts';

setNumThreads(1); // Tiny pictures: a second thread only waits.
vi.setConfig({ hookTimeout: 60_000, testTimeout: 60_000 }); // It trains: seconds here, more on a busy machine.

let folder: string;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'tessera tokenizer '));
  for (const part of ['train', 'val']) {
    mkdirSync(join(folder, 'images', part, 'discs'), { recursive: true });
    for (let i = 0; i < 6; i++) {
      const data = Uint8Array.from({ length: 16 * 16 * 3 }, (_, j) => ((j * (i + 3)) % 251) | 0);
      writeFileSync(
        join(folder, 'images', part, 'discs', `${i}.png`),
        await encodePng({ width: 16, height: 16, data }),
      );
    }
  }
});
afterAll(() => rmSync(folder, { recursive: true }));

const tiny = { family: 'llamagen-vq', codebookSize: 8 } as const;

async function train(changes: Partial<TrainTokenizerOptions>): Promise<PipelineEvent[]> {
  const events: PipelineEvent[] = [];
  const options = { images: join(folder, 'images'), out: join(folder, 'run'), recipe: 'plain', steps: 2, globalBatch: 2, seed: 0, size: 16, ...changes }; // biome-ignore format: one row
  for await (const event of trainTokenizerOnImages(options)) events.push(event);
  return events;
}

const notes = (events: readonly PipelineEvent[]): string =>
  events.flatMap((event) => (event.kind === 'note' ? [event.message] : [])).join('\n');

describe('train-tokenizer', () => {
  let base: string;
  beforeAll(async () => {
    const recipe = join(folder, 'recipe.yaml');
    writeFileSync(recipe, 'discriminator: { kind: patchgan, baseChannels: 4, numLayers: 1 }\ndiscriminatorStart: 2\n');
    const before = memoryStats().liveTensors;
    const events = await train({ model: 'vq-small', codebookSize: tiny.codebookSize, recipe });
    expect(memoryStats().liveTensors).toBe(before);
    const { result } = events.at(-1) as unknown as { result: { tokenizer: string; measured: Record<string, number> } };
    expect(result.measured.psnr).toBeGreaterThan(0);
    base = result.tokenizer;
    expect(notes(events)).toContain('without the perceptual term');
    const bars = events.flatMap((event) =>
      event.kind === 'progress' && event.stage === 'tokenizer' ? [event.detail] : [],
    );
    expect(bars.at(-1)).toMatch(/^loss [\d.]+, \d+ % of codes in use$/);
  });

  it('leaves a tokenizer folder, and the discriminator in its checkpoints', () => {
    const tokenizer = openTokenizer(base);
    expect([tokenizer.family, tokenizer.codebookSize]).toEqual(['llamagen-vq', 8]);
    tokenizer.dispose();
    const checkpoint = join(folder, 'run', 'checkpoints', 'step-0000002');
    expect(existsSync(join(checkpoint, 'discriminator.safetensors'))).toBe(true);
  });

  it('starts from a folder, from a checkpoint of a run, and from a wrapped PyTorch file alike', () => {
    const first = (initFrom: string, given: { model?: string; entry?: string } = {}) => {
      const codebookSize = given.model === undefined ? undefined : tiny.codebookSize;
      const options = { model: undefined, ...given, codebookSize, initFrom, ignoreKeys: [], seed: 1 };
      const { network } = firstTokenizer(options);
      const bits = Buffer.from(network!.state.get('decoder.conv_out.weight')!.toBytes()).toString('hex');
      network!.dispose();
      return bits;
    };
    const wrapped = join(folder, 'wrapped.pth');
    const tokenizer = openTokenizer(base);
    const entry = (factor: number): TorchWritable =>
      new Map(
        [...tokenizer.state].map(([name, tensor]): [string, TensorToWrite] => {
          const bytes = scope(() => tensor.mul(factor).toBytes());
          return [`module.${name}`, { dtype: 'float32', shape: tensor.shape, bytes: () => bytes }];
        }),
      );
    writeFileSync(wrapped, encodeTorchCheckpoint(new Map<string, TorchWritable>([['ema', entry(2)], ['model', entry(1)], ['steps', 7]]))); // biome-ignore format: one row
    tokenizer.dispose();
    const ema = join(folder, 'run', 'checkpoints', 'step-0000002', 'ema.safetensors');
    expect(first(wrapped, { model: 'vq-small' })).toBe(first(base));
    expect(first(ema)).toBe(first(base));
    expect(first(wrapped, { model: 'vq-small', entry: 'ema' })).not.toBe(first(base));
  });

  it('ends in the same bits whether pictures are kept or decoded at each visit', async () => {
    const weights = async (out: string, memory: number): Promise<string> => {
      await train({ out: join(folder, out), model: 'vq-small', codebookSize: 8, steps: 3, memory });
      return readFileSync(join(folder, out, 'tokenizer', 'model.safetensors'), 'base64');
    };
    expect(await weights('visited', 0)).toBe(await weights('kept', 1e6));
  });

  it('draws random crops by step, so a stopped run ends as an undisturbed one', async () => {
    const recipe = join(folder, 'crops.yaml');
    writeFileSync(recipe, 'randomCrop: true\nreviveEvery: 2\n');
    const options = { model: 'vq-small', codebookSize: 8, recipe, steps: 3, size: 8 };
    const weights = (out: string): string => readFileSync(join(out, 'tokenizer', 'model.safetensors'), 'base64');
    const [whole, halves] = [join(folder, 'whole'), join(folder, 'halves')];
    await train({ ...options, out: whole });
    const stop = new AbortController();
    const until = async (): Promise<void> => {
      for await (const event of trainTokenizerOnImages({ ...options, images: join(folder, 'images'), out: halves, globalBatch: 2, seed: 0, signal: stop.signal })) // biome-ignore format: one row
        if (event.kind === 'progress' && event.stage === 'tokenizer' && event.done === 1) stop.abort();
    };
    await expect(until()).rejects.toThrow();
    await train({ ...options, out: halves });
    expect(weights(halves)).toBe(weights(whole));
  });

  it('another codebook size is an error that says what to do, and an ignored one starts fresh', async () => {
    const options = { model: 'vq-small', codebookSize: 16, initFrom: base, seed: 1 };
    expect(() => firstTokenizer({ ...options, ignoreKeys: [] })).toThrow(
      'does not fit this tokenizer: quantize.embedding.weight: expected [16, 16], got [8, 16]. Leave --model',
    );
    const { network, fresh, config } = firstTokenizer({ ...options, ignoreKeys: ['quantize.'] });
    expect([fresh, config.codebookSize]).toEqual([['quantize.embedding.weight'], 16]);
    network!.dispose();
    const events = await train({
      ...options,
      ignoreKeys: ['quantize.'],
      out: join(folder, 'tuned'),
      steps: 1,
      seed: 0,
    });
    expect(notes(events)).toContain('1 tensors start fresh, such as quantize.embedding.weight');
  });

  it('starts the discriminator at once from a checkpoint, unless the recipe file says when', () => {
    const recipe = join(folder, 'based.yaml');
    const startOf = (text: string): unknown => {
      writeFileSync(recipe, text);
      return openRecipe(recipe).fineTuning.discriminatorStart;
    };
    expect(openRecipe('llamagen').fineTuning.discriminatorStart).toBe(0);
    expect(startOf('base: llamagen\nreviveEvery: 5\n')).toBe(0);
    expect(startOf('base: llamagen\ndiscriminatorStart: 7\n')).toBeUndefined();
    expect(startOf('reviveEvery: 5\n')).toBeUndefined();
  });

  it('says when the discriminator would join after the end', async () => {
    const recipe = join(folder, 'late.yaml');
    const start = (step: number) => writeFileSync(recipe, `base: llamagen\ndiscriminator: { kind: patchgan, baseChannels: 4, numLayers: 1 }\ndiscriminatorStart: ${step}\n`); // biome-ignore format: one row
    const options = { model: 'vq-small', codebookSize: 8, recipe, steps: 1 };
    start(2);
    const late = 'without the discriminator, which would join in step 2 of 1: give more --steps';
    expect(notes(await train({ ...options, out: join(folder, 'late') }))).toContain(late);
    start(1);
    expect(notes(await train({ ...options, out: join(folder, 'in time') }))).not.toContain('discriminator');
    // From a checkpoint the base's own start counts: at once.
    writeFileSync(recipe, 'base: llamagen\ndiscriminator: { kind: patchgan, baseChannels: 4, numLayers: 1 }\n');
    const tuned = await train({ recipe, steps: 1, initFrom: base, out: join(folder, 'at once') });
    expect(notes(tuned)).not.toContain('discriminator');
    expect(readFileSync(join(folder, 'at once', 'config.yaml'), 'utf8')).toContain('discriminatorStart: 0');
  });

  it('says what it expected', async () => {
    const options = { codebookSize: undefined, ignoreKeys: [], seed: 1 };
    const other = join(folder, 'other.safetensors');
    scope(() => saveSafetensors(other, [['main.0.weight', zeros([1])]]));
    expect(() => firstTokenizer({ ...options, model: undefined, initFrom: other })).toThrow('expected the weights of a LlamaGen VQ or MaskGIT VQGAN, got tensors such as main.0.weight'); // biome-ignore format: one row
    expect(() => firstTokenizer({ ...options, model: 'maskgit-vqgan', initFrom: base })).toThrow('is a LlamaGen VQ, --model maskgit-vqgan a MaskGIT VQGAN'); // biome-ignore format: one row
    expect(() => firstTokenizer({ ...options, model: 'vq-smal', initFrom: undefined })).toThrow('Expected a tokenizer preset (llamagen-vq16'); // biome-ignore format: one row
    expect(() => openRecipe('plane')).toThrow('Expected a recipe (plain, llamagen or a file), got "plane"');
    await expect(train({ out: join(folder, 'x'), lpipsWeights: [other] })).rejects.toThrow('expected VGG16 and the maps of LPIPS'); // biome-ignore format: one row
  });
});
