/** Every command that docs/moving-over.md tells people to type is one that these commands take. */

import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { COMMANDS } from './commands.ts';
import { GLOBAL_ARGUMENTS, parseStrictly } from './strict-arguments.ts';

const page = readFileSync(new URL('../../../../docs/moving-over.md', import.meta.url), 'utf8');
const lines = [...page.matchAll(/`tessera ([a-z][^`]*)`/g)].map((match) => match[1]!);

describe('docs/moving-over.md', () => {
  it('has commands of most kinds', () => {
    const names = new Set(lines.map((line) => line.split(' ')[0]));
    expect([...names].sort()).toEqual([
      'convert',
      'edit',
      'evaluate',
      'export',
      'fetch',
      'fit',
      'import',
      'inspect',
      'launch',
      'sample',
      'search',
      'search-training',
      'stats',
      'tokenize',
      'train',
      'train-tokenizer',
    ]);
  });

  it.each(lines)('tessera %s', (line) => {
    for (const words of line.split(' -- ')) expect(() => start(words.split(' '), line)).not.toThrow();
  });
});

/** Arguments are checked here; nothing is done before the first event is asked for. */
function start([name, ...words]: string[], line: string): void {
  const command = COMMANDS.find((each) => each.name === name)!;
  const texts = parseStrictly(words, { ...command.args, ...GLOBAL_ARGUMENTS }, command.name);
  const rest = command.rest === undefined ? {} : { rest: line.split(' -- ')[1]!.split(' ') };
  command.start({ ...texts, ...rest }, { signal: new AbortController().signal });
}
