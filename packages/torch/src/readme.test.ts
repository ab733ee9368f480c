/** Runs the example of the README and compares what it prints with its `// ->` comments. */

import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import * as torch from './index.ts';

const readme = readFileSync(new URL('../README.md', import.meta.url), 'utf8');

it('the example of the README runs as printed', () => {
  const example = /```js\n(.*?)```/s.exec(readme)![1]!;
  const [, names, body] = /^import (\{.*?\}) from '@tessera\/torch';\n(.*)$/s.exec(example)!;
  const printed: string[] = [];
  const log = (...values: unknown[]) => printed.push(values.join(' '));
  const before = torch.memoryStats().liveTensors;
  new Function('torch', 'console', `'use strict'; const ${names} = torch; ${body}`)(torch, { log });
  expect(printed).toEqual(Array.from(example.matchAll(/\/\/ -> (.*)/g), (match) => match[1]));
  expect(printed.length).toBe(3);
  expect(torch.memoryStats().liveTensors).toBe(before);
});

it('the idioms of the README name functions and methods that exist', () => {
  const table = /\| PyTorch.*?\n\n/s.exec(readme)![0];
  const ours = table
    .split('\n')
    .slice(2)
    .map((row) => row.split(/(?<!\\)\|/)[2] ?? '');
  const methods = ours.join(' ').matchAll(/\b[xy]\.(\w+)/g);
  const functions = ours.join(' ').matchAll(/(?<![.\w])(\w+)\(/g);
  const missing = [
    ...Array.from(methods, (match) => match[1]!).filter((name) => !(name in torch.Tensor.prototype)),
    ...Array.from(functions, (match) => match[1]!).filter((name) => !(name in torch)),
  ];
  expect(missing).toEqual([]);
  expect(ours.join('').length).toBeGreaterThan(400);
});
