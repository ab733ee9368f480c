/**
 * Official checkpoints through import and export: every tensor of the exported file is the original's bit for bit, under
 * the same name, and the five-file folder comes back whole. Reads the reference set; see test/parity/golden-set.ts.
 */

import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  atPath,
  encodeTorchCheckpoint,
  flattenStateDict,
  OrderedDict,
  readTorchCheckpoint,
  type TensorToWrite,
  type TorchValue,
} from '@tessera/formats';
import { openFile } from '@tessera/formats/node';
import {
  exportCheckpoint,
  importCheckpoint,
  initialise,
  MaskgitVqgan,
  maskgitConfigSchema,
  writeTokenizerFolder,
} from 'tessera';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type GoldenCase, type GoldenFolder, openGoldenSet } from './parity/golden-set.ts';

const folders = openGoldenSet() ?? [];
const work = mkdtempSync(join(tmpdir(), 'tessera-official-'));
afterAll(() => rmSync(work, { recursive: true, force: true }));

async function drain(events: AsyncGenerator<unknown>): Promise<void> {
  for await (const _ of events);
}

function read(path: string): TorchValue {
  // Left open: storages are read when their tensors are.
  return readTorchCheckpoint(openFile(path));
}

function expectSameTensors(ours: TorchValue, theirs: TorchValue, label: string): void {
  const [a, b] = [ours, theirs].map((value) => flattenStateDict(value));
  expect([...a!.keys()], label).toEqual([...b!.keys()]);
  for (const [name, tensor] of b!) {
    const own = a!.get(name)!;
    expect([own.dtype, own.shape], `${label} ${name}`).toEqual([tensor.dtype, tensor.shape]);
    expect(Buffer.compare(own.contiguousBytes(), tensor.contiguousBytes()), `${label} ${name}`).toBe(0);
  }
}

/** The tokenizer checkpoints that cases of codecs name, once each. */
function tokenizerFiles(folder: GoldenFolder): { file: string; path: (string | number)[] }[] {
  const found = new Map<string, (string | number)[]>();
  for (const { kind, weights } of folder.cases) {
    if (kind !== 'vq-codec' && kind !== 'maskgit-vq-codec') continue;
    if (typeof weights === 'object' && 'file' in weights && weights.path !== undefined)
      found.set(weights.file, weights.path);
  }
  return [...found].map(([file, path]) => ({ file, path }));
}

for (const folder of folders) {
  for (const { file, path } of tokenizerFiles(folder)) {
    it(`${folder.name}/${file} goes in and out`, async () => {
      const source = join(folder.path, file);
      const [inside, out] = [join(work, `${folder.family}-tokenizer`), join(work, `${folder.family}.pt`)];
      await drain(importCheckpoint({ source, out: inside }));
      await drain(exportCheckpoint({ source: inside, out }));
      expectSameTensors(atPath(read(out), path), atPath(read(source), path), file);
    });
  }
  const resume = folder.cases.find(({ kind }) => kind === 'nat-checkpoint-resume');
  if (resume !== undefined && folder.config.network === 'enat') {
    describe(folder.name, () => checkpointFolder(folder, resume));
  }
  for (const trained of folder.cases.filter(({ kind }) => kind === 'gpt-train-steps' || kind === 'npp-train-steps')) {
    describe(`${folder.name}, ${trained.id}`, () => trainerFile(folder, trained));
  }
}

/** A GPT trainer's file: {model, optimizer, steps, args, ema}. */
function trainerFile(folder: GoldenFolder, { config = folder.config, outputs }: GoldenCase): void {
  const source = join(folder.path, outputs.model!.file!);
  const place = join(work, `${folder.family}-trained`);
  const given = { numHeads: Number(config.numHeads), gridSize: Number(config.gridSize) };
  const bring = (from: string, out: string, entry?: string) =>
    drain(importCheckpoint({ source: from, out, entry, tokenizer: join(place, 'vq'), ...given }));

  beforeAll(() => {
    mkdirSync(place, { recursive: true });
    const sizes = { channels: 4, channelMultipliers: [1], resBlocks: 1, codeDim: 2, groupNormGroups: 2 };
    const vqConfig = maskgitConfigSchema.parse({ ...sizes, codebookSize: Number(config.vocabSize) });
    const vq = initialise((p) => new MaskgitVqgan(vqConfig, p));
    writeTokenizerFolder(join(place, 'vq'), vq);
    vq.dispose();
  });

  it.each(['model', 'ema'])('comes back whole, its %s being the model of the folder', async (entry) => {
    const [inside, out] = [join(place, entry), join(place, `${entry}.pt`)];
    await bring(source, inside, entry);
    await drain(exportCheckpoint({ source: inside, out }));
    const [ours, theirs] = [read(out), read(source)];
    expectSameTensors(ours, theirs, source);
    expect(withoutTensors(ours)).toEqual(withoutTensors(theirs));
  });

  it("takes a sharded run's folder, what the original computes left out", async () => {
    const sharded = join(place, '0000007');
    mkdirSync(sharded);
    const state = [...flattenStateDict(read(source), ['model'])].map(([name, t]) => [
      name,
      { dtype: t.dtype, shape: t.shape, bytes: t.contiguousBytes() },
    ]) as [string, TensorToWrite][];
    const cache: TensorToWrite = { dtype: 'float32', shape: [1], bytes: new Uint8Array(4) };
    const left = ['freqs_cis', 'layers.0.attention.kv_cache.k_cache'].map((name) => [name, cache] as const);
    writeFileSync(
      join(sharded, 'consolidated.pth'),
      encodeTorchCheckpoint(new OrderedDict<TensorToWrite>([...left, ...state])),
    );
    writeFileSync(join(sharded, 'resume_step.txt'), '7');
    await bring(sharded, join(place, 'from-shards'));
    await drain(exportCheckpoint({ source: join(place, 'from-shards'), out: join(place, 'again.pt') }));
    expectSameTensors(atPath(read(join(place, 'again.pt')), ['model']), atPath(read(source), ['model']), 'model');
  });
}

function checkpointFolder(folder: GoldenFolder, resume: GoldenCase): void {
  it('takes the five files in and gives them back', async () => {
    const config = resume.config ?? folder.config;
    const files = resume.checkpointFiles!;
    const source = join(folder.path, files.net!, '..');
    const [inside, out, tokenizer] = [join(work, 'model'), join(work, 'out.ckpt'), join(work, 'any-tokenizer')];
    const vq = initialise(
      (p) =>
        new MaskgitVqgan(
          maskgitConfigSchema.parse({ channels: 4, channelMultipliers: [1, 1], resBlocks: 1, codebookSize: config.codebookSize, codeDim: 2, groupNormGroups: 2 }),
          p,
        ),
    ); // biome-ignore format: one row
    writeTokenizerFolder(tokenizer, vq);
    vq.dispose();
    const given = { encoderDepth: Number(config.encoderDepth), numHeads: Number(config.numHeads) };
    await drain(importCheckpoint({ source, out: inside, tokenizer, ...given }));
    await drain(exportCheckpoint({ source: inside, out, checkpointFolder: true }));
    expect(readdirSync(out).sort()).toEqual(readdirSync(source).sort());
    for (const file of readdirSync(source)) {
      const [ours, theirs] = [read(join(out, file)), read(join(source, file))];
      expectSameTensors(ours, theirs, file);
      expect(withoutTensors(ours), file).toEqual(withoutTensors(theirs));
    }
  });
}

/** All that is not a tensor; a Namespace as the dict that it is written as. */
function withoutTensors(value: TorchValue): unknown {
  if (typeof value === 'object' && value !== null && 'kind' in value && value.kind === 'namespace') {
    return withoutTensors(value.fields);
  }
  if (value instanceof Map) return new Map([...value].map(([key, item]) => [key, withoutTensors(item)]));
  if (Array.isArray(value)) return value.map(withoutTensors);
  return typeof value === 'object' && value !== null ? 'tensor' : value;
}

it('finds checkpoints in the reference set', () => {
  if (folders.length > 0) expect(folders.flatMap(tokenizerFiles).length).toBeGreaterThan(0);
});
