import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { expect, test } from 'vitest';
import { sourceLine } from './source-line.ts';

test('the first frame outside the engine, relative to where the process runs', () => {
  const place = join(process.cwd(), 'models', 'enat.ts');
  const stack = `Error: call
    at Tracer.hear (${join(import.meta.dirname, 'trace.ts')}:1:1)
    at attendTokens (${pathToFileURL(join(import.meta.dirname, '..', 'attend-tokens.ts'))}:2:2)
    at Block.forward (${pathToFileURL(place)}:12:34)
    at Enat.forward (${pathToFileURL(place)}:56:7)`;
  expect(sourceLine(stack)).toBe('Block.forward (models/enat.ts:12:34)');
  expect(sourceLine(`Error\n    at ${place}:3:4`)).toBe('models/enat.ts:3:4');
  expect(sourceLine('')).toBe('an unknown place');
});

test('compiled code is mapped back to its source', () => {
  const folder = mkdtempSync(join(tmpdir(), 'tessera-source-line-'));
  try {
    // One mapping: line 1, column 1 of the output comes from line 5, column 3 of model.ts.
    const map = { version: 3, sources: ['model.ts'], names: [], mappings: 'AAIE' };
    writeFileSync(join(folder, 'model.js.map'), JSON.stringify(map));
    expect(sourceLine(`Error\n    at f (${join(folder, 'model.js')}:1:1)`)).toMatch(/^f \(.*model\.ts:5:3\)$/);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
