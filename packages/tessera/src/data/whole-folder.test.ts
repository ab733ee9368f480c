import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { moveIntoPlace, requireReplaceable, temporaryFor } from './whole-folder.ts';

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
});
