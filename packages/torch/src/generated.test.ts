/** The committed glue is what the table generates, and a mistake in the table is an error with its line. */

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { generate } from '../codegen/generate.mjs';
import { parseTable } from '../codegen/parse-table.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));

test('the committed files are exactly those that the table generates', () => {
  const files = generate();
  const committed = ['native/generated', 'src/generated'].flatMap((folder) =>
    readdirSync(join(root, folder)).map((name) => `${folder}/${name}`),
  );
  expect([...files.keys()].sort()).toEqual(committed.sort());
  const stale = [...files].filter(([path, content]) => readFileSync(join(root, path), 'utf8') !== content);
  expect(stale.map(([path]) => `${path}: run node packages/torch/codegen/generate.mjs`)).toEqual([]);
});

test('a line gives the whole operation', () => {
  const [operation] = parseTable(
    '# a comment\n\nindex_add_.Tensor(Tensor self, int[] dim=[1, 2], *, Scalar? alpha=None) -> (Tensor a, Tensor[] b)  M as=plus\n',
  );
  expect(operation).toEqual({
    schema: 'index_add_.Tensor(Tensor self, int[] dim=[1, 2], *, Scalar? alpha=None) -> (Tensor a, Tensor[] b)',
    cppName: 'index_add_',
    overload: 'Tensor',
    tsName: 'plus',
    parameters: [
      { type: 'Tensor', name: 'self', keyword: false },
      { type: 'int[]', name: 'dim', default: '[1, 2]', keyword: false },
      { type: 'Scalar?', name: 'alpha', default: 'None', keyword: true },
    ],
    returns: [
      { type: 'Tensor', name: 'a' },
      { type: 'Tensor[]', name: 'b' },
    ],
    method: true,
    methodOnly: true,
  });
  expect(parseTable('_foreach_norm_(Tensor[] self) -> ()')[0]).toMatchObject({ tsName: 'foreachNorm_', returns: [] });
  expect(parseTable('')).toEqual([]);
});

test.each([
  ['no result', 'neg(Tensor self)', 'expected "name.overload'],
  ['no parentheses', 'neg -> Tensor', 'expected "name.overload'],
  ['a bad name', 'n-eg(Tensor self) -> Tensor', 'expected "name.overload'],
  ['a parameter without a type', 'neg(self) -> Tensor', 'expected "Type name[=default]", got "self"'],
  ['an unknown type', 'neg(Tenser self) -> Tensor', 'unknown type "Tenser"'],
  ['an unknown result', 'neg(Tensor self) -> Tenser', 'unknown result "Tenser"'],
  ['an unknown result in a tuple', 'neg(Tensor self) -> (Tensor a, long b)', 'unknown result "long"'],
  ['an unknown flag', 'neg(Tensor self) -> Tensor  q', 'unknown flag "q"'],
  ['an empty alias', 'neg(Tensor self) -> Tensor  as=', 'unknown flag "as="'],
  ['a method without self', 'neg(Tensor input) -> Tensor  m', 'a method\'s first parameter must be "Tensor self"'],
  ['the same operation twice', 'abs(Tensor self) -> Tensor', '"abs" is in the table twice'],
])('%s is refused with its line', (_, line, message) => {
  const run = () => parseTable(`# table\nabs(Tensor self) -> Tensor  m\n\n${line}\nexp(Tensor self) -> Tensor`);
  expect(run).toThrow('operations.txt:4: ');
  expect(run).toThrow(message);
});
