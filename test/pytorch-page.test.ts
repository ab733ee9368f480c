// Runs every line of code in docs/pytorch.md: the examples print what their `// ->` comments say, and each call in the right
// column of a table runs on the tensors that the page describes.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as torch from '@tessera/torch';
import * as tessera from 'tessera';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';

const page = readFileSync(new URL('../docs/pytorch.md', import.meta.url), 'utf8');
const examples = [...page.matchAll(/```js\n(.*?)```/gs)].map((match) => match[1]!);
const calls = page
  .split('\n')
  .filter((line) => /^\| .*\|$/.test(line) && !/^\| (PyTorch|---)/.test(line))
  .flatMap((line) => [...line.split('|')[2]!.matchAll(/`([^`]+)`/g)].map((match) => match[1]!));

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'tessera pytorch page '));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test('the page has examples and calls', () => {
  expect(examples.length).toBe(4);
  expect(calls.length).toBeGreaterThan(80);
});

test.each(examples.map((example, k) => [k + 1, example] as const))('example %i prints what it says', (_, example) => {
  const body = example.replace(/^import (\{.*\}) from '(tessera|@tessera\/torch)';$/gm, "const $1 = modules['$2'];");
  expect(body).not.toContain('import ');
  const printed: string[] = [];
  const log = (...values: unknown[]) => printed.push(values.join(' '));
  const before = torch.memoryStats().liveTensors;
  new Function('modules', 'console', `'use strict'; ${body}`)({ tessera, '@tessera/torch': torch }, { log });
  expect(printed).toEqual(Array.from(example.matchAll(/\/\/ -> (.*)/g), (match) => match[1]));
  expect(printed.length).toBeGreaterThan(0);
  expect(torch.memoryStats().liveTensors).toBe(before);
});

test.each(calls)('%s', (call) => {
  const path = join(folder, 'tensors.safetensors');
  const threads = torch.getNumThreads();
  const quiet = vi.spyOn(console, 'error').mockImplementation(() => {});
  torch.scope(() => {
    const given = {
      ...torch,
      x: torch.rand([2, 3]).add(0.5),
      y: torch.rand([2, 3]).add(0.5),
      images: torch.randn([1, 4, 8, 8]),
      labels: torch.tensor([1, 0], 'int64'),
      mask: torch.tensor([[1, 0, 0], [0, 1, 1]], 'bool'), // biome-ignore format: the mask
      weight: torch.randn([2, 3]).requiresGrad_(),
      path,
    };
    torch.saveSafetensors(path, [['w', given.x]]);
    const body = /^(const|let) /.test(call) ? call : `return (${call});`;
    const result = new Function(...Object.keys(given), `'use strict'; ${body}`)(...Object.values(given));
    if (typeof result === 'function') result(); // traceMemory() gives what ends it
    given.x.dispose(); // also where a line keeps it
  });
  quiet.mockRestore();
  torch.setNumThreads(threads);
});
