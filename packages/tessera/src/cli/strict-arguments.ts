/**
 * Arguments, strictly. citty (0.2.2) describes and coerces arguments, but it swallows unknown flags, drops any word
 * that starts with `--no-`, keeps only the last of repeated flags, takes a missing value for an empty one and surplus
 * words for nothing. So the words are checked here first, and citty gets them as `--name=value` alone.
 */

import { parseArgs as tokenize } from 'node:util';
import { nearest } from '@tessera/schedule';
import { parseArgs } from 'citty';
import { CliError } from './cli-error.ts';
import { type Arguments, camelCase } from './command.ts';

/** Flags of every command. */
export const GLOBAL_ARGUMENTS: Arguments = {
  json: { type: 'boolean', description: 'print events as JSON, one object a line, and nothing else' },
  threads: { type: 'string', valueHint: 'N', description: 'CPU threads (default: one a core)' },
  device: {
    type: 'string',
    valueHint: 'NAME',
    description: "where networks run: cpu (default), cuda or cuda:N; under a launcher cuda is LOCAL_RANK's GPU",
  },
  profile: {
    type: 'string',
    valueHint: 'FILE',
    description: 'write a trace of all operations (open it in Perfetto) and list the slowest at the end',
  },
  debug: { type: 'boolean', description: 'show where an error came from' },
  help: { type: 'boolean', alias: 'h', description: 'show this' },
};

/**
 * The values by argument name in camelCase: texts, booleans, lists of texts where `multiple` or `values`. Absent ones are left out.
 *
 * @param command named in errors, such as `sample`
 */
export function parseStrictly(words: readonly string[], args: Arguments, command: string): Record<string, unknown> {
  const flags = new Map(Object.entries(args).filter(([, arg]) => arg.type !== 'positional'));
  const positionals = Object.keys(args).filter((name) => args[name]!.type === 'positional');
  const given = new Map<string, string[]>();
  const loose: string[] = [];
  const add = (name: string, value: string): void => {
    const values = given.get(name);
    if (values !== undefined && args[name]!.multiple !== true) {
      throw new CliError('ARGUMENT', `--${name} was given twice: expected one value.`);
    }
    given.set(name, [...(values ?? []), value]);
  };

  const { tokens } = tokenize({
    args: [...words],
    options: Object.fromEntries([...flags].map(([name, arg]) => [name, optionOf(arg)])),
    strict: false,
    allowPositionals: true,
    tokens: true,
  });
  // A flag of several values takes the words right after it.
  let open: { name: string; left: number } | undefined;
  for (const token of tokens) {
    if (token.kind === 'positional') {
      if (open === undefined || open.left === 0) loose.push(token.value);
      else {
        open.left -= 1;
        given.get(open.name)!.push(token.value);
      }
    }
    if (token.kind !== 'option') continue;
    const arg = flags.get(token.name);
    if (arg === undefined) throw unknownFlag(token.rawName, [...flags.keys()], command);
    add(token.name, checkedValue(token, arg, flags));
    open = { name: token.name, left: (arg.values ?? 1) - 1 };
  }
  placePositionals(loose, positionals, args, command, add);
  const missing = [...flags].filter(([name, arg]) => arg.required === true && !given.has(name)).map(flagUsage);
  if (missing.length > 0) throw new CliError('ARGUMENT', `${command}: expected ${missing.join(' and ')}.`);

  // Only names that were given: absent ones must not come back as defaults or empty texts.
  const known = Object.fromEntries([...given.keys()].map((name) => [name, { ...args[name]!, required: false }]));
  const isList = (name: string) => args[name]!.multiple === true || args[name]!.values !== undefined;
  const single = [...given].filter(([name]) => args[name]!.type !== 'positional' && !isList(name));
  const parsed = parseArgs(
    single.map(([name, values]) => `--${name}=${values[0]}`),
    Object.fromEntries(single.map(([name]) => [name, known[name]!])),
  );
  return Object.fromEntries(
    [...given].map(([name, values]) => [
      camelCase(name),
      isList(name) ? values : args[name]!.type === 'positional' ? values[0] : parsed[name],
    ]),
  );
}

/** Such as `--num-steps N`. */
export function flagUsage([name, arg]: readonly [string, Arguments[string]]): string {
  return arg.type === 'boolean' ? `--${name}` : `--${name} ${arg.valueHint ?? 'VALUE'}`;
}

function optionOf(arg: Arguments[string]): { type: 'string' | 'boolean'; short?: string } {
  const type = arg.type === 'boolean' ? 'boolean' : 'string';
  const aliases = 'alias' in arg ? [arg.alias].flat() : [];
  const short = aliases.find((alias) => alias?.length === 1);
  return short === undefined ? { type } : { type, short };
}

function checkedValue(
  token: { rawName: string; value?: string | undefined; inlineValue?: boolean | undefined },
  arg: Arguments[string],
  flags: ReadonlyMap<string, unknown>,
): string {
  const { rawName, value } = token;
  if (arg.type === 'boolean') {
    if (value === undefined || value === 'true' || value === 'false') return value ?? 'true';
    throw new CliError('ARGUMENT', `${rawName}: expected no value (or true, false), got "${value}".`);
  }
  const hint = arg.valueHint ?? 'a value';
  if (value === undefined) throw new CliError('ARGUMENT', `${rawName}: expected ${hint} after it.`);
  // The next flag is no value; who means it writes --flag=--other.
  if (token.inlineValue === false && flags.has(/^--([^=]+)/.exec(value)?.[1] ?? '')) {
    throw new CliError('ARGUMENT', `${rawName}: expected ${hint} after it, got ${value}.`);
  }
  return value;
}

function placePositionals(
  loose: readonly string[],
  names: readonly string[],
  args: Arguments,
  command: string,
  add: (name: string, value: string) => void,
): void {
  const surplus = loose[names.length];
  if (surplus !== undefined) {
    const expected = names.length === 0 ? 'no argument' : names.map((name) => name.toUpperCase()).join(' ');
    throw new CliError('ARGUMENT', `${command}: expected ${expected}, got also "${surplus}".`);
  }
  names.forEach((name, i) => {
    const value = loose[i];
    if (value !== undefined) add(name, value);
    else if (args[name]!.required !== false) {
      const usage = `tessera ${command} ${names.map((other) => other.toUpperCase()).join(' ')}`;
      throw new CliError('ARGUMENT', `${command}: expected ${name.toUpperCase()}: ${usage}.`);
    }
  });
}

function unknownFlag(rawName: string, names: readonly string[], command: string): CliError {
  const near = nearest(rawName.replace(/^-+/, ''), names);
  const advice = near === undefined ? `"tessera ${command} --help" lists what there is` : `did you mean --${near}?`;
  return new CliError('UNKNOWN_FLAG', `unknown flag ${rawName}: ${advice}`);
}
