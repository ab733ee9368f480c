import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { moveIntoPlace, requireReplaceable, temporaryFor } from './whole-folder.ts';

vi.mock('node:fs', async (original) => {
  const fs = await original<typeof import('node:fs')>();
  return { ...fs, renameSync: vi.fn(fs.renameSync) };
});

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'whole '));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function write(path: string, text: string): void {
  mkdirSync(path);
  writeFileSync(join(path, 'config.json'), text);
}

it.each(['plain', 'slashed/', 'dotted/.'])('replaces the folder %s by a whole one', (name) => {
  const path = join(folder, name.split('/')[0]!);
  write(path, 'old');
  const given = `${folder}/${name}`;
  const temporary = temporaryFor(given);
  write(temporary, 'new');
  expect(readFileSync(join(path, 'config.json'), 'utf8')).toBe('old');
  moveIntoPlace(temporary, given);
  expect(readFileSync(join(path, 'config.json'), 'utf8')).toBe('new');
  expect(readdirSync(folder).filter((entry) => /writing|replaced/.test(entry))).toEqual([]);
});

it('removes what kills left, but no old folder that is all there is', () => {
  const path = join(folder, 'killed');
  write(`${path}.replaced-1`, 'old');
  write(`${path}.writing`, 'half');
  temporaryFor(path);
  expect(readdirSync(folder)).toContain('killed.replaced-1');
  expect(readdirSync(folder)).not.toContain('killed.writing');
  write(path, 'new');
  temporaryFor(path);
  expect(readdirSync(folder)).not.toContain('killed.replaced-1');
});

it('replaces a file in one step', () => {
  const path = join(folder, 'weights.pt');
  writeFileSync(path, 'old');
  writeFileSync(temporaryFor(path), 'new');
  vi.mocked(renameSync).mockClear();
  moveIntoPlace(`${path}.writing`, path);
  expect(readFileSync(path, 'utf8')).toBe('new');
  expect(renameSync).toHaveBeenCalledOnce();
});

it('leaves the old folder where the new one cannot be moved', () => {
  const path = join(folder, 'stays');
  write(path, 'old');
  expect(() => moveIntoPlace(join(folder, 'nothing'), path)).toThrow('ENOENT');
  expect(readFileSync(join(path, 'config.json'), 'utf8')).toBe('old');
});

it('refuses what is something else, and what is read', () => {
  const other = join(folder, 'other');
  mkdirSync(other);
  requireReplaceable(other, 'config.json');
  writeFileSync(join(other, 'notes.txt'), 'mine');
  expect(() => requireReplaceable(other, 'config.json')).toThrow('has no config.json');
  expect(() => requireReplaceable(join(other, 'notes.txt'), 'config.json')).toThrow('has no config.json');
  const model = join(folder, 'model');
  write(model, 'x');
  const inside = join(model, 'tokenizer.pt');
  expect(() => requireReplaceable(model, 'config.json', [undefined, inside])).toThrow(`holds ${inside}`);
  expect(() => requireReplaceable(`${model}/`, 'config.json', [model])).toThrow('which is read');
  requireReplaceable(model, 'config.json', [`${model}.pt`, join(folder, '..model')]);
  expect(existsSync(inside)).toBe(false);
  symlinkSync(model, join(folder, 'alias'));
  const linked = join(folder, 'alias', 'config.json');
  expect(() => requireReplaceable(model, 'config.json', [linked])).toThrow('which is read');
  expect(() => requireReplaceable(join(folder, 'alias'), 'config.json', [join(model, 'config.json')])).toThrow('read');
});
