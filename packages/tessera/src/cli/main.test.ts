import { strictConfig } from '@tessera/schedule';
import { cudaIsAvailable } from '@tessera/torch';
import { afterEach, describe, expect, it } from 'vitest';
import { PipelineError, type PipelineEvent } from '../pipelines/events.ts';
import { wholeNumber } from './argument-values.ts';
import { defineCommand, type RunContext } from './command.ts';
import { run } from './main.ts';

let behaviour: (context: RunContext) => AsyncGenerator<PipelineEvent>;

const command = defineCommand({
  name: 'paint',
  summary: 'paint a picture',
  args: { count: { type: 'string', valueHint: 'N', description: 'how many' } },
  examples: [{ command: 'paint --count 3', what: 'three of them' }],
  resumable: true,
  schema: strictConfig({ count: wholeNumber(1, 9).optional() }),
  run: (options, context) => {
    given = options;
    return behaviour(context);
  },
  print: ({ painted }) => `Painted ${String(painted)}.\n`,
});

let given: unknown;

afterEach(() => {
  given = undefined;
});

async function* succeed(): AsyncGenerator<PipelineEvent> {
  yield { kind: 'stage', stage: 'paint', message: 'Painting' };
  yield { kind: 'result', result: { painted: 3 } };
}

async function tessera(...words: string[]): Promise<{ code: number; out: string; err: string }> {
  let out = '';
  let err = '';
  const terminal = {
    stdout: { write: (text: string) => (out += text) },
    stderr: { write: (text: string) => (err += text) },
  };
  return { code: await run(words, terminal, [command]), out, err };
}

function failWith(error: unknown): void {
  // biome-ignore lint/correctness/useYield: a pipeline that fails at once
  behaviour = async function* () {
    throw error;
  };
}

describe('run', () => {
  it('runs a command with its options', async () => {
    behaviour = succeed;
    expect(await tessera('paint', '--count', '3')).toEqual({ code: 0, out: 'Painted 3.\n', err: 'Painting\n' });
    expect(given).toEqual({ count: 3 });
  });

  it('refuses a device that is none, and names the remedy for one that is not here', async () => {
    behaviour = succeed;
    const wrong = await tessera('paint', '--device', 'gpu');
    expect([wrong.code, wrong.err]).toEqual([
      1,
      expect.stringContaining('--device: expected cpu, cuda or cuda:N, got "gpu"'),
    ]);
    if (cudaIsAvailable()) return;
    const absent = await tessera('paint', '--device', 'cuda:0');
    expect([absent.code, absent.err]).toEqual([1, expect.stringContaining('No CUDA for the device cuda:0')]);
  });

  it('prints JSON and nothing else with --json', async () => {
    behaviour = succeed;
    const { out, err } = await tessera('paint', '--json');
    expect(out.trim().split('\n').map((line) => JSON.parse(line).kind)).toEqual(['stage', 'result']); // biome-ignore format: one row
    expect(err).toBe('');
  });

  it.each([
    [['pant'], 'tessera: unknown command "pant": did you mean "tessera paint"?\n'],
    [['zzz'], 'tessera: unknown command "zzz": there are paint\n'],
    [['--count', '3'], 'tessera: expected a command before --count: there are paint\n'],
    [['paint', '--cuont', '3'], 'tessera: unknown flag --cuont: did you mean --count?\n'],
    [['paint', '--count', '3.5'], 'tessera: --count: expected a whole number from 1 to 9, got "3.5"\n'],
    [['paint', '--count', ''], 'tessera: --count: expected a whole number from 1 to 9, got ""\n'],
    [['paint', '--threads', '0'], 'tessera: --threads: expected a whole number from 1 to 1024, got "0"\n'],
    [['help', 'pain'], 'tessera: unknown command "pain": did you mean "tessera paint"?\n'],
  ])('%j is one line and exit code 1', async (words, err) => {
    behaviour = succeed;
    expect(await tessera(...words)).toEqual({ code: 1, out: '', err });
  });

  it("shows the user's errors without a stack, and with one when asked", async () => {
    failWith(new PipelineError('NOPE', 'cannot:\n  paint', { cause: new Error('no brush') }));
    expect(await tessera('paint')).toEqual({ code: 1, out: '', err: 'tessera: cannot: paint\n' });
    const { err } = await tessera('paint', '--debug');
    expect(err).toMatch(/PipelineError: cannot:.*main\.test\.ts.*Caused by: Error: no brush/s);
  });

  it('says of defects how to see where they came from', async () => {
    failWith(new TypeError('x is undefined'));
    const { code, err } = await tessera('paint');
    expect(code).toBe(1);
    expect(err).toBe('tessera: unexpected failure: TypeError: x is undefined (--debug shows where)\n');
  });

  it('shows help in every way of asking', async () => {
    const help = await tessera('paint', '--help');
    expect(help.code).toBe(0);
    expect(help.out).toContain('--count N');
    expect(help.out).toContain('  # three of them\n  tessera paint --count 3');
    expect(await tessera('help', 'paint')).toEqual(help);
    expect(await tessera('paint', '--count', '3', '-h')).toEqual(help);
    const overview = await tessera();
    expect(overview.out).toContain('paint  paint a picture');
    expect(await tessera('help')).toEqual(overview);
    expect((await tessera('--version')).out).toMatch(/^\d+\.\d+\.\d+\n$/);
  });

  it('asks the pipeline to stop at the first Ctrl-C, says how to go on, and gives the signal back', async () => {
    const before = process.listenerCount('SIGINT');
    behaviour = async function* ({ signal }) {
      yield { kind: 'stage', stage: 'paint', message: 'Painting' };
      expect(process.listenerCount('SIGINT')).toBe(before + 1);
      process.emit('SIGINT', 'SIGINT');
      expect(signal.aborted).toBe(true);
      // The second one is the system's again.
      expect(process.listenerCount('SIGINT')).toBe(before);
      throw signal.reason;
    };
    const { code, out, err } = await tessera('paint');
    expect({ code, out }).toEqual({ code: 130, out: '' });
    expect(err).toContain('once more stops at once');
    expect(err).toContain('The same command goes on from here.');
  });

  it('takes an end without a result after a signal for a stop too', async () => {
    behaviour = async function* () {
      process.emit('SIGTERM', 'SIGTERM');
      yield { kind: 'note', message: 'saved' };
    };
    expect((await tessera('paint')).code).toBe(143);
  });

  it("repeats a pipeline's own words on how to go on", async () => {
    // biome-ignore lint/correctness/useYield: stops at once
    behaviour = async function* () {
      process.emit('SIGINT', 'SIGINT');
      throw new PipelineError('STOPPED', 'Saved at step 7.');
    };
    expect(await tessera('paint')).toMatchObject({ code: 130, err: expect.stringMatching(/\nSaved at step 7\.\n$/) });
  });

  it('counts work that was finished all the same', async () => {
    behaviour = async function* (context) {
      process.emit('SIGINT', 'SIGINT');
      expect(context.signal.aborted).toBe(true);
      yield* succeed();
    };
    expect(await tessera('paint')).toMatchObject({ code: 0, out: 'Painted 3.\n' });
  });

  it('tells a failure after Ctrl-C from the stop', async () => {
    // biome-ignore lint/correctness/useYield: fails while saving
    behaviour = async function* () {
      process.emit('SIGINT', 'SIGINT');
      throw new PipelineError('DISK', 'the disk is full');
    };
    expect(await tessera('paint')).toMatchObject({ code: 1, err: expect.stringContaining('the disk is full') });
  });
});
