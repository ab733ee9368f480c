import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import * as formats from './index.ts';

test('the entry reaches no module of Node and no package but fflate', () => {
  const seen = new Set<string>();
  const packages = new Set<string>();
  const visit = (file: string): void => {
    if (seen.has(file)) return;
    seen.add(file);
    expect(existsSync(file), file).toBe(true);
    for (const [, target] of readFileSync(file, 'utf8').matchAll(/(?:from|import)\s*\(?\s*'([^']+)'/g)) {
      if (target!.startsWith('.')) visit(join(dirname(file), target!));
      else packages.add(target!);
    }
  };
  visit(join(dirname(fileURLToPath(import.meta.url)), 'index.ts'));
  expect([...packages]).toEqual(['fflate']);
  expect(seen.size).toBeGreaterThan(20);
});

test('what others build on is exported', () => {
  expect(Object.keys(formats)).toEqual(
    expect.arrayContaining([
      'readSafetensorsHeader',
      'readNpz',
      'readTorchCheckpoint',
      'encodeScalarEvent',
      'withPngText',
    ]),
  );
});
