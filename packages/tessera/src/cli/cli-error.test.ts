import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { describeError } from './cli-error.ts';

const said = (body: () => unknown): string => {
  try {
    return String(body());
  } catch (error) {
    return describeError(error, false);
  }
};

it('says in words what the system says of files', () => {
  const folder = mkdtempSync(join(tmpdir(), 'cli error '));
  try {
    const file = join(folder, 'file');
    writeFileSync(file, '');
    expect(said(() => mkdirSync(file, { recursive: true }))).toBe(
      `tessera: ${file} is there already: expected a folder, or a new name (EEXIST).`,
    );
    expect(said(() => mkdirSync(join(file, 'x'), { recursive: true }))).toMatch(/goes through a file.*\(ENOTDIR\)/);
    expect(said(() => writeFileSync(folder, ''))).toBe(`tessera: ${folder} is a folder: expected a file (EISDIR).`);
    expect(said(() => readFileSync(join(folder, 'none')))).toMatch(/ENOENT: no such file or directory/);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

it('names what was not foreseen a failure, with the way to its place', () => {
  expect(said(() => null!['x' as never])).toMatch(
    /^tessera: unexpected failure: TypeError: .* \(--debug shows where\)$/,
  );
});
