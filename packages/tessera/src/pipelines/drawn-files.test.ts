import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { drawnName, refuseOtherPictures, withoutSummaries } from './drawn-files.ts';

const left = (...names: string[]): string[] =>
  withoutSummaries(names.map((relativePath) => ({ relativePath }))).map(({ relativePath }) => relativePath);

it('names tell what was drawn, and no class name breaks them', () => {
  expect(drawnName(12, 'tench, Tinca tinca', 3)).toBe('00012-tench-Tinca-tinca-s3.png');
  expect(drawnName(123456, '../x', 0)).toBe('123456-x-s0.png');
  expect(drawnName(0, undefined, 4)).toBe('00000-s4.png');
});

it('a grid and a reveal are left out beside drawn pictures, and nowhere else', () => {
  const drawn = [drawnName(0, 'a', 1), drawnName(1, '***', 1), drawnName(2, undefined, 1)];
  expect(left(...drawn, 'grid.png', 'reveal.webp', 'reveal.gif')).toEqual(drawn);
  expect(left(...drawn, 'holiday.png', 'grid.png')).toHaveLength(5);
  expect(left('grid.png')).toEqual(['grid.png']);
});

it('pictures of another run are refused, its own and other files are not', () => {
  const folder = mkdtempSync(join(tmpdir(), 'drawn-'));
  try {
    const own = new Set([drawnName(0, 'a', 1)]);
    expect(() => refuseOtherPictures(join(folder, 'not-there'), own)).not.toThrow();
    for (const name of [...own, 'grid.png', 'notes.txt']) writeFileSync(join(folder, name), '');
    expect(() => refuseOtherPictures(folder, own)).not.toThrow();
    writeFileSync(join(folder, drawnName(1, 'a', 1)), '');
    expect(() => refuseOtherPictures(folder, own)).toThrow(/1 pictures.*00001-a-s1.png.*another --out/);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
