/**
 * The table says what libtorch's own headers say of each operation: name, overload, parameters in order with their types,
 * and defaults. What differs on purpose stands in the list, so that a wrong default or a swapped parameter cannot hide.
 */

import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { parseTable } from '../codegen/parse-table.mjs';
import { locateAddon } from './native/locate-addon.ts';

/** Defaults that we add where ATen's C++ wants the argument and Python's functions have the default. */
const OUR_DEFAULTS: Record<string, Record<string, string>> = {
  'sum.dim_IntList': { dim: 'None' },
  'mean.dim': { dim: 'None' },
  'sort.stable': { stable: 'True' },
  'argsort.stable': { stable: 'True' },
  batch_norm: { cudnnenabled: 'True' },
  instance_norm: { cudnnenabled: 'True' },
  _fused_adamw_: { amsgrad: 'False', maximize: 'False' },
};

interface Parameter {
  readonly type: string;
  readonly name: string;
  readonly fallback: string | undefined;
}

const table = parseTable(readFileSync(fileURLToPath(new URL('../codegen/operations.txt', import.meta.url)), 'utf8'));
const headers = join(locateAddon().libtorch.path, 'include/ATen/ops');

/** Names without case and underscores: `memoryFormat` is `memory_format`. */
const plain = (name: string) => name.replaceAll('_', '').toLowerCase();

function parseAten(text: string): Parameter {
  const [, type, name, fallback] = /^(\S+) (\w+)(?:=(.*))?$/.exec(text)!;
  return { type: type!, name: plain(name!), fallback: fallback && plainDefault(fallback) };
}

function plainDefault(text: string): string {
  if (text === 'Mean') return '1'; // the reduction
  const listed = /^\[(\w+)\]$/.exec(text); // a list of one stands for all dimensions
  return (listed ? listed[1]! : text).replaceAll(/\\?["']/g, '').replace(/^(-?\d+)\.0$/, '$1');
}

/** What ATen's headers say of an overload; undefined where they have no such one. */
function atenParameters(name: string, overload: string): Parameter[] | undefined {
  const path = [name, name.replace(/_$/, '')].map((base) => join(headers, `${base}_ops.h`)).find(existsSync);
  if (path === undefined) return undefined;
  const full = overload === '' ? `${name}(` : `${name}.${overload}(`;
  const schemas = [...readFileSync(path, 'utf8').matchAll(/schema_str = "(.*)";/g)].map((match) => match[1]!);
  const schema = schemas.find((candidate) => candidate.startsWith(full));
  const list = schema && /^[^(]*\((.*)\) -> /.exec(schema.replaceAll(/\([a-z]!?(?: -> \*)?\)/g, ''))?.[1];
  return list
    ?.replaceAll(/(\w)\[\d+\](?=[ ?])/g, '$1[]')
    .replaceAll('SymInt', 'int')
    .replaceAll('ScalarType', 'dtype')
    .split(/, (?![^[]*\])/)
    .filter((text) => text !== '*')
    .map(parseAten);
}

function complaints(operation: (typeof table)[number]): string[] {
  const { cppName, overload, parameters } = operation;
  const name = overload === '' ? cppName : `${cppName}.${overload}`;
  const theirs = atenParameters(cppName, overload);
  if (theirs === undefined) return [`${name}: not in libtorch's headers`];
  // Options are their dtype, layout, device and pinning.
  const ours = parameters.filter(({ type }) => !type.endsWith('Options'));
  const wrong = ours.flatMap((parameter, i) => {
    const match = theirs[i];
    const type = parameter.type.replace('!', '');
    const fallback = parameter.default === undefined ? undefined : plainDefault(parameter.default);
    if (match?.name !== plain(parameter.name)) return [`${name}: ${parameter.name} is ${match?.name} there`];
    if (match.type !== type) return [`${name}: ${parameter.name} is ${match.type} there, not ${type}`];
    const expected = OUR_DEFAULTS[name]?.[match.name] ?? match.fallback;
    return fallback === expected ? [] : [`${name}: ${parameter.name}=${fallback}, there ${expected}`];
  });
  const needed = theirs.slice(ours.length).filter(({ fallback }) => fallback === undefined);
  return [...wrong, ...needed.map((parameter) => `${name}: lacks ${parameter.name}, which has no default`)];
}

test("the table agrees with libtorch's headers", () => {
  expect(table.length).toBeGreaterThan(300);
  expect(table.flatMap(complaints)).toEqual([]);
});
