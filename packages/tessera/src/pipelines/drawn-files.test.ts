import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { withPngText } from '@tessera/formats';
import { expect, it } from 'vitest';
import { encodePng } from '../data/contact-sheet.ts';
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

it('pictures of another run are refused, its own and other files are not', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'drawn-'));
  try {
    const name = drawnName(0, 'a', 1);
    const refuse =
      (path: string, texts = { Seed: '1', Strategy: 'x' }) =>
      () =>
        refuseOtherPictures(path, new Set([name]), { name, texts });
    expect(refuse(join(folder, 'not-there'))).not.toThrow();
    const png = await encodePng({ width: 1, height: 1, data: new Uint8Array(3) });
    writeFileSync(join(folder, name), withPngText(png, { Seed: '1', Strategy: 'x', Software: 'y' }));
    for (const other of ['grid.png', 'notes.txt']) writeFileSync(join(folder, other), '');
    expect(refuse(folder)).not.toThrow();
    expect(refuse(folder, { Seed: '1', Strategy: 'z' })).toThrow(/another run \(Strategy differs\).*another --out/);
    writeFileSync(join(folder, name), png.subarray(0, 20)); // half of it, as a kill leaves it
    expect(refuse(folder, { Seed: '1', Strategy: 'z' })).not.toThrow();
    writeFileSync(join(folder, drawnName(1, 'a', 1)), '');
    expect(refuse(folder)).toThrow(/1 pictures.*00001-a-s1.png.*another --out/);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
