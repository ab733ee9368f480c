/**
 * What a command is: its arguments for people (citty's definitions), a schema that turns their texts into the options
 * of a pipeline, and the pipeline. A command parses, validates, calls and prints; it computes nothing.
 */

import type { ArgDef } from 'citty';
import type { z } from 'zod';
import type { PipelineEvent } from '../pipelines/events.ts';
import { kebabCase } from '../pipelines/flag-name.ts';
import { CliError } from './cli-error.ts';

/**
 * citty's definition of an argument, by its name on the command line; `multiple`: may be given more than once; `values`: how
 * many words it takes at most.
 */
export type Arguments = Record<string, ArgDef & { multiple?: boolean; values?: number }>;

export interface Example {
  /** What to type after `tessera`. */
  command: string;
  what: string;
}

export interface RunContext {
  /** Aborted by Ctrl-C: the pipeline finishes its step, saves what it saves, and ends. */
  signal: AbortSignal;
}

export interface Command {
  name: string;
  /** One line, for the list of commands. */
  summary: string;
  /** More, for its own help. */
  details?: string;
  args: Arguments;
  examples: readonly Example[];
  /** What stands after "--", such as `COMMAND …`; it comes to the schema as `rest`, a list of words. */
  rest?: string;
  /** Whether running the same command again goes on where this one stopped. */
  resumable: boolean;
  /** Checks the parsed texts, then gives the pipeline; nothing has happened before its first event is asked for. */
  start(texts: Record<string, unknown>, context: RunContext): AsyncIterable<PipelineEvent>;
  /** Lines for people made of the result; default: none. */
  print?(result: Record<string, unknown>): string;
}

interface CommandDefinition<Schema extends z.ZodType> extends Omit<Command, 'start' | 'resumable'> {
  resumable?: boolean;
  /** Of an object with the arguments' names in camelCase; values are texts, booleans or, for `multiple`, lists of texts. */
  schema: Schema;
  run(options: z.output<Schema>, context: RunContext): AsyncIterable<PipelineEvent>;
}

export function defineCommand<Schema extends z.ZodType>(definition: CommandDefinition<Schema>): Command {
  const { schema, run, resumable = false, ...rest } = definition;
  return { ...rest, resumable, start: (texts, context) => run(parseOptions(schema, texts), context) };
}

/** Like parseConfig, with the names as they were typed: `--num-images`. */
function parseOptions<Schema extends z.ZodType>(schema: Schema, texts: Record<string, unknown>): z.output<Schema> {
  const result = schema.safeParse(texts);
  if (result.success) return result.data;
  const issues = result.error.issues.map(({ path, message }) => {
    const [name] = path;
    // What follows "--" has no flag.
    if (name === 'rest') return message;
    return name === undefined ? message : `--${kebabCase(String(name))}: ${message}`;
  });
  throw new CliError('ARGUMENT', issues.join('; '));
}

export function camelCase(name: string): string {
  return name.replace(/-([a-z])/g, (_, letter: string) => letter.toUpperCase());
}
