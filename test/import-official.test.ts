/**
 * Official checkpoints through import and export: every tensor of the exported file is the original's bit for bit, under
 * the same name, and the five-file folder comes back whole. Reads the reference set; see test/parity/golden-set.ts.
 */

import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { atPath, flattenStateDict, readTorchCheckpoint, type TorchValue } from '@tessera/formats';
import { openFile } from '@tessera/formats/node';
import {
  exportCheckpoint,
  importCheckpoint,
  initialise,
  MaskgitVqgan,
  maskgitConfigSchema,
  writeTokenizerFolder,
} from 'tessera';
import { afterAll, describe, expect, it } from 'vitest';
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

/** All that is not a tensor. */
function withoutTensors(value: TorchValue): unknown {
  if (value instanceof Map) return new Map([...value].map(([key, item]) => [key, withoutTensors(item)]));
  if (Array.isArray(value)) return value.map(withoutTensors);
  return typeof value === 'object' && value !== null ? 'tensor' : value;
}

it('finds checkpoints in the reference set', () => {
  if (folders.length > 0) expect(folders.flatMap(tokenizerFiles).length).toBeGreaterThan(0);
});
