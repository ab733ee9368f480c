/**
 * The command line: finds the command, checks its arguments, runs its pipeline, shows its events. Exit code 0 only on
 * success, 1 on errors, 130 after Ctrl-C (143 after SIGTERM). The first signal asks the pipeline to finish its step and
 * save; the second ends the process at once.
 */

import { readFileSync } from 'node:fs';
import { setImmediate } from 'node:timers/promises';
import { nearest } from '@tessera/schedule';
import { Profile, setNumThreads } from '@tessera/torch';
import { useDevice } from '../nn/device.ts';
import { PipelineError, type PipelineEvent } from '../pipelines/events.ts';
import { LAUNCHER_VARIABLE } from '../pipelines/launch/local-ranks.ts';
import { wholeNumber } from './argument-values.ts';
import { CliError, describeError } from './cli-error.ts';
import type { Command } from './command.ts';
import { COMMANDS } from './commands.ts';
import { renderCommandHelp, renderOverview } from './help.ts';
import { printProfile } from './print-profile.ts';
import { type EventRenderer, jsonRenderer, type OutputStream, quietRenderer, textRenderer } from './render-events.ts';
import { adoptSlurmEnvironment } from './slurm-environment.ts';
import { GLOBAL_ARGUMENTS, parseStrictly } from './strict-arguments.ts';

/** Where a command writes; a test gives its own. */
export interface Terminal {
  stdout: OutputStream;
  stderr: OutputStream;
}

/** Long synchronous steps starve signals and timers: let them in this often. */
const BREATH_MS = 25;
/** Between two looks whether the launcher of this process is still there. */
const LAUNCHER_LOOK_MS = 1000;

/** Runs a command line on this process's streams and sets its exit code. */
export async function main(words: readonly string[]): Promise<void> {
  // Pipes that close early (`| head`) end the output, not the work.
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EPIPE') throw error;
    });
  }
  adoptSlurmEnvironment(process.env);
  process.exitCode = await run(words, process);
}

/** Runs a command line; returns its exit code. */
export async function run(
  words: readonly string[],
  terminal: Terminal,
  commands: readonly Command[] = COMMANDS,
): Promise<number> {
  const debug = words.includes('--debug');
  try {
    const help = helpFor(words, commands, terminal.stdout.columns ?? 100);
    if (help !== undefined) {
      terminal.stdout.write(help);
      return 0;
    }
    return await runCommand(words, terminal, commands);
  } catch (error) {
    terminal.stderr.write(`${describeError(error, debug)}\n`);
    return error instanceof PipelineError ? error.exitCode : 1;
  }
}

/** The text that was asked for instead of a command, if one was. */
function helpFor(words: readonly string[], commands: readonly Command[], width: number): string | undefined {
  const [first, second] = words;
  if (first === '--version' || first === '-v') return `${version()}\n`;
  const overview = (): string => renderOverview(commands, version(), Math.min(width, 120));
  if (first === undefined || first === '--help' || first === '-h') return overview();
  const name = first === 'help' ? second : first;
  if (name === undefined) return overview();
  const flags = words.slice(1, words.includes('--') ? words.indexOf('--') : undefined);
  if (first !== 'help' && !flags.includes('--help') && !flags.includes('-h')) return undefined;
  return renderCommandHelp(findCommand(name, commands), Math.min(width, 120));
}

function findCommand(name: string, commands: readonly Command[]): Command {
  const found = commands.find((command) => command.name === name);
  if (found !== undefined) return found;
  const names = commands.map((command) => command.name);
  const near = nearest(name, names);
  const advice = near === undefined ? `there are ${names.join(', ')}` : `did you mean "tessera ${near}"?`;
  const what = name.startsWith('-') ? `expected a command before ${name}` : `unknown command "${name}"`;
  throw new CliError('UNKNOWN_COMMAND', `${what}: ${advice}`);
}

async function runCommand(
  [name, ...words]: readonly string[],
  terminal: Terminal,
  commands: readonly Command[],
): Promise<number> {
  const command = findCommand(name!, commands);
  const end = command.rest === undefined ? -1 : words.indexOf('--');
  const own = end === -1 ? words : words.slice(0, end);
  const rest = command.rest === undefined ? {} : { rest: words.slice(own.length + 1) };
  const {
    json,
    threads,
    device,
    profile: trace,
    debug: _debug,
    ...texts
  } = parseStrictly(own, { ...command.args, ...GLOBAL_ARGUMENTS }, command.name);
  const interrupt = new Interrupt();
  const speaks = isFirstRank();
  const all = json === true ? jsonRenderer(terminal.stdout) : textRenderer(terminal.stderr);
  const renderer = speaks ? all : quietRenderer(all);
  interrupt.onFirst = () => {
    renderer.clear();
    if (speaks) terminal.stderr.write('Stopping after this step; once more stops at once.\n');
  };
  let profile: Profile | undefined;
  try {
    const events = command.start({ ...texts, ...rest }, { signal: interrupt.signal });
    if (threads !== undefined) setNumThreads(parseThreads(String(threads)));
    if (device !== undefined) useDevice(parseDevice(String(device)));
    if (trace !== undefined) profile = new Profile({ trace: parseTrace(String(trace)) });
    const result = await showAll(events, renderer, profile);
    if (interrupt.signal.aborted && result === undefined) return sayHowToGoOn(command, interrupt, terminal);
    if (result !== undefined && json !== true && command.print && speaks) terminal.stdout.write(command.print(result));
    return 0;
  } catch (error) {
    renderer.clear();
    if (interrupt.signal.aborted && isStop(error, interrupt.signal)) {
      return sayHowToGoOn(command, interrupt, terminal, error);
    }
    throw error;
  } finally {
    interrupt.release();
    // Also of work that failed or was stopped: that is when one looks.
    const summary = profile?.finish();
    if (summary !== undefined && json !== true) terminal.stderr.write(printProfile(summary, String(trace)));
  }
}

async function showAll(
  events: AsyncIterable<PipelineEvent>,
  renderer: EventRenderer,
  profile: Profile | undefined,
): Promise<Record<string, unknown> | undefined> {
  let result: Record<string, unknown> | undefined;
  let breath = Date.now();
  for await (const event of events) {
    renderer.show(event);
    if (event.kind === 'stage') profile?.mark(event.message);
    if (event.kind === 'result') result = event.result;
    if (Date.now() - breath >= BREATH_MS) {
      await setImmediate();
      breath = Date.now();
    }
  }
  renderer.clear();
  return result;
}

/** In the pipeline's own words, where it has some. */
function sayHowToGoOn(command: Command, interrupt: Interrupt, { stderr }: Terminal, error?: unknown): number {
  const resumed = command.resumable
    ? 'Stopped; what was done is saved. The same command goes on from here.'
    : 'Stopped.';
  if (isFirstRank()) stderr.write(`${error instanceof PipelineError ? error.message : resumed}\n`);
  return interrupt.exitCode;
}

/** Whether a pipeline ended because it was asked to, and not because something broke meanwhile. */
function isStop(error: unknown, signal: AbortSignal): boolean {
  if (error instanceof PipelineError) return error.code === 'STOPPED';
  return error === signal.reason || (error instanceof Error && error.name === 'AbortError');
}

/** Of the processes of a distributed run one speaks. */
function isFirstRank(): boolean {
  return (process.env.RANK ?? '0') === '0';
}

function parseThreads(text: string): number {
  const parsed = wholeNumber(1, 1024).safeParse(text);
  if (parsed.success) return parsed.data;
  throw new CliError('ARGUMENT', `--threads: ${parsed.error.issues[0]!.message}`);
}

function parseDevice(name: string): string {
  if (/^(cpu|cuda(:\d{1,3})?)$/.test(name)) return name;
  throw new CliError('ARGUMENT', `--device: expected cpu, cuda or cuda:N, got "${name}"`);
}

function parseTrace(path: string): string {
  if (path !== '') return path;
  throw new CliError('ARGUMENT', '--profile: expected a file to write, got ""');
}

/** The first signal aborts; then the system's own handling is back, which ends the process. */
class Interrupt {
  onFirst: () => void = () => {};
  exitCode = 130;
  private readonly controller = new AbortController();
  private readonly stop = (signal: NodeJS.Signals): void => {
    this.release();
    this.exitCode = signal === 'SIGTERM' ? 143 : 130;
    this.onFirst();
    this.controller.abort();
  };

  /** Looks for the launcher, where one has started this process. */
  private readonly watch: NodeJS.Timeout | undefined;

  constructor() {
    process.on('SIGINT', this.stop);
    process.on('SIGTERM', this.stop);
    const launcher = process.env[LAUNCHER_VARIABLE];
    if (launcher === undefined || Number(launcher) !== process.ppid) return;
    this.watch = setInterval(() => {
      if (process.ppid !== Number(launcher)) this.stop('SIGTERM');
    }, LAUNCHER_LOOK_MS).unref();
  }

  get signal(): AbortSignal {
    return this.controller.signal;
  }

  release(): void {
    clearInterval(this.watch);
    process.off('SIGINT', this.stop);
    process.off('SIGTERM', this.stop);
  }
}

function version(): string {
  const file = new URL('../../package.json', import.meta.url);
  return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version;
}
