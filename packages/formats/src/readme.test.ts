/** Runs the example of the README and compares what it prints with its `// ->` comments. */

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import * as formats from './index.ts';
import { type FileByteReader, withFile } from './node.ts';
import { protocol2, tensorValue, zipCheckpoint } from './torch/forge.test-support.ts';

it('the example of the README runs as printed', () => {
  const readme = readFileSync(new URL('../README.md', import.meta.url), 'utf8');
  const example = /```js\n(.*?)```/s.exec(readme)![1]!;
  const body = example.replace(/^import .*;$/gm, '');
  const names = [...example.matchAll(/^import \{(.*)\} from '@tessera\/formats';$/gm)]
    .map((match) => match[1])
    .join(',');
  expect(example).toContain("import { withFile } from '@tessera/formats/node';");

  const folder = mkdtempSync(join(tmpdir(), 'tessera formats '));
  try {
    const bias = tensorValue({ dtype: 'float16', key: '0', held: 2, shape: [2], strides: [1] });
    const checkpoint = zipCheckpoint(protocol2(new Map([['fc', new Map([['bias', bias]])]])), { 0: new Uint8Array(4) });
    writeFileSync(join(folder, 'checkpoint.pth'), checkpoint);
    const printed: string[] = [];
    const log = (...values: unknown[]) => printed.push(values.join(' '));
    const open = (path: string, use: (reader: FileByteReader) => unknown) => withFile(join(folder, path), use);
    const run = new Function('formats', 'withFile', 'console', `'use strict'; const {${names}} = formats; ${body}`);
    run(formats, open, { log });
    expect(printed).toEqual(Array.from(example.matchAll(/\/\/ -> (.*)/g), (match) => match[1]));
    expect(printed.length).toBe(2);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
