/** Runs the example of the README and compares what it prints with its `// ->` comments. */

import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import * as schedule from './index.ts';

it('the example of the README runs as printed', () => {
  const readme = readFileSync(new URL('../README.md', import.meta.url), 'utf8');
  const example = /```js\n(.*?)```/s.exec(readme)![1]!;
  const [, names, body] = /^import (\{.*?\}) from '@tessera\/schedule';\n(.*)$/s.exec(example)!;
  const printed: string[] = [];
  const log = (...values: unknown[]) => printed.push(values.join(' '));
  new Function('schedule', 'console', `'use strict'; const ${names} = schedule; ${body}`)(schedule, { log });
  expect(printed).toEqual(Array.from(example.matchAll(/\/\/ -> (.*)/g), (match) => match[1]));
  expect(printed.length).toBe(4);
});
