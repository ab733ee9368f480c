/** Help texts: the list of commands, and each command's arguments with examples, wrapped to the terminal. */

import type { Arguments, Command } from './command.ts';
import { flagUsage, GLOBAL_ARGUMENTS } from './strict-arguments.ts';

export function renderOverview(commands: readonly Command[], version: string, width: number): string {
  return [
    `tessera ${version}: turns folders of images into image generators, and runs them.`,
    '',
    'Usage: tessera COMMAND …',
    '',
    'Commands:',
    ...twoColumns(
      commands.map(({ name, summary }) => [name, summary]),
      width,
    ),
    '',
    'For every command:',
    ...twoColumns(flagRows(GLOBAL_ARGUMENTS), width),
    '',
    '"tessera COMMAND --help" shows a command\'s options with examples.',
    '',
  ].join('\n');
}

export function renderCommandHelp(command: Command, width: number): string {
  const { name, summary, details, args, examples } = command;
  const positionals = Object.entries(args).filter(([, arg]) => arg.type === 'positional');
  const flags = Object.fromEntries(Object.entries(args).filter(([, arg]) => arg.type !== 'positional'));
  const words = positionals.map(([word, arg]) =>
    arg.required === false ? `[${word.toUpperCase()}]` : word.toUpperCase(),
  );
  const after = command.rest === undefined ? [] : ['--', command.rest];
  const needed = Object.entries(flags).filter(([, arg]) => arg.required === true);
  const lines = [...wrap(`tessera ${name}: ${summary}`, width, ''), ''];
  if (details !== undefined) lines.push(...details.split('\n').flatMap((line) => wrap(line, width, '')), '');
  lines.push(`Usage: ${['tessera', name, ...words, ...needed.map(flagUsage), '[options]', ...after].join(' ')}`, '');
  const positionalRows = positionals.map(([word, arg]) => [word.toUpperCase(), arg.description ?? ''] as const);
  if (positionalRows.length > 0) lines.push(...twoColumns(positionalRows, width), '');
  if (Object.keys(flags).length > 0) lines.push('Options:', ...twoColumns(flagRows(flags), width), '');
  lines.push('For every command:', ...twoColumns(flagRows(GLOBAL_ARGUMENTS), width), '', 'Examples:');
  for (const example of examples) lines.push(...wrap(example.what, width, '  # '), `  tessera ${example.command}`);
  return [...lines, ''].join('\n');
}

function flagRows(args: Arguments): [string, string][] {
  return Object.entries(args).map(([name, arg]) => {
    const aliases = 'alias' in arg ? [arg.alias].flat() : [];
    return [[...aliases.map((alias) => `-${alias}`), flagUsage([name, arg])].join(', '), arg.description ?? ''];
  });
}

/** The first column as wide as it needs, the second wrapped beside it. */
function twoColumns(rows: readonly (readonly [string, string])[], width: number): string[] {
  const first = Math.min(30, Math.max(...rows.map(([left]) => left.length)));
  return rows.flatMap(([left, right]) => {
    const indent = ' '.repeat(first + 4);
    const wrapped = wrap(right, width, indent);
    if (left.length > first) return [`  ${left}`, ...wrapped];
    return [`  ${left.padEnd(first)}  ${wrapped[0]!.slice(indent.length)}`, ...wrapped.slice(1)];
  });
}

function wrap(text: string, width: number, indent: string): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line !== '' && indent.length + line.length + 1 + word.length > Math.max(width, 40)) {
      lines.push(indent + line);
      line = word;
    } else {
      line = line === '' ? word : `${line} ${word}`;
    }
  }
  return [...lines, indent + line];
}
