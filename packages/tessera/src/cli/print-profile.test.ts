import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { strictConfig } from '@tessera/schedule';
import { ones, scope } from '@tessera/torch';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { PipelineError, type PipelineEvent } from '../pipelines/events.ts';
import { sample } from '../pipelines/sample.ts';
import { writeTinyModel } from '../pipelines/tiny-model.test-support.ts';
import { defineCommand } from './command.ts';
import { run } from './main.ts';
import { printProfile } from './print-profile.ts';

test('the table: shares of the whole time, two operations a multiply-accumulate', () => {
  const totals = (name: string, milliseconds: number, macs: number) => ({
    name,
    calls: 1200,
    milliseconds,
    bytes: 2.5e9,
    macs,
  });
  const many = Array.from({ length: 16 }, (_, i) => totals(`small${i}`, 1, 0));
  const text = printProfile(
    { milliseconds: 1000, operations: [totals('linear', 500, 10e9), ...many], eventsLeftOut: 2000 },
    'out.json',
  );
  const lines = text.split('\n');
  expect(lines[0]).toMatch(/operation +calls +s +share +GB +GMACs +GFLOP\/s/);
  expect(lines[1]!.trim().split(/ {2,}/)).toEqual(['linear', '1,200', '0.500', '50.0 %', '2.50', '10.000', '40.0']);
  expect(lines[16]!.trim().split(/ {2,}/)).toEqual(['2 others', '2,400', '0.002', '0.2 %', '5.00']);
  expect(lines[17]!.trim().split(/ {2,}/)).toEqual(['between operations', '0.484', '48.4 %']);
  expect(lines[18]).toBe('trace: out.json, the last 2,000 operations left out');
});

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tessera-profile-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

let behaviour: () => AsyncGenerator<PipelineEvent>;
const command = defineCommand({
  name: 'work',
  summary: 'work',
  args: {},
  examples: [],
  schema: strictConfig({}),
  run: () => behaviour(),
});

async function tessera(...words: string[]): Promise<{ code: number; out: string; err: string }> {
  let [out, err] = ['', ''];
  const terminal = {
    stdout: { write: (text: string) => (out += text) },
    stderr: { write: (text: string) => (err += text) },
  };
  return { code: await run(words, terminal, [command]), out, err };
}

test('--profile writes a trace of a sampling run and lists its operations', async () => {
  writeTinyModel(join(folder, 'model'));
  behaviour = () => sample({ model: join(folder, 'model'), numImages: 3, out: join(folder, 'out') });
  const trace = join(folder, 'trace.json');
  const { code, err } = await tessera('work', '--profile', trace);
  expect({ code, err }).toMatchObject({
    code: 0,
    err: expect.stringMatching(/linear.* %.*\n(.*\n)*trace: .*trace\.json\n$/),
  });
  const names = new Set<string>();
  for (const event of JSON.parse(readFileSync(trace, 'utf8')).traceEvents) names.add(event.name);
  expect([...names]).toEqual(
    expect.arrayContaining(['linear', 'conv2d', 'scaled_dot_product_attention', 'exponentialNoise']),
  );
  expect([...names].some((name) => name.startsWith('Sampling 3 images'))).toBe(true);
});

test('with --json the trace is written and nothing else printed', async () => {
  behaviour = async function* () {
    yield { kind: 'result', result: {} };
  };
  const { out, err } = await tessera('work', '--json', '--profile', join(folder, 'trace.json'));
  expect({ out, err }).toEqual({ out: '{"kind":"result","result":{}}\n', err: '' });
  expect(existsSync(join(folder, 'trace.json'))).toBe(true);
});

test('of work that failed there is a whole trace too', async () => {
  behaviour = async function* () {
    scope(() => ones([2]).exp());
    throw new PipelineError('NOPE', 'no more');
  };
  const trace = join(folder, 'trace.json');
  const { code, err } = await tessera('work', '--profile', trace);
  expect(code).toBe(1);
  expect(err).toMatch(/trace: .*\ntessera: no more\n$/);
  expect(JSON.parse(readFileSync(trace, 'utf8')).traceEvents.at(-1).name).toBe('exp');
});

test('a trace that cannot be written stops the command before the work', async () => {
  let started = false;
  // biome-ignore lint/correctness/useYield: must not run
  behaviour = async function* () {
    started = true;
  };
  const { code, err } = await tessera('work', '--profile', join(folder, 'nowhere', 'trace.json'));
  expect(code).toBe(1);
  expect(err).toMatch(/^tessera: ENOENT.*\n$/);
  expect((await tessera('work', '--profile', '')).err).toBe('tessera: --profile: expected a file to write, got ""\n');
  expect(started).toBe(false);
  expect(readdirSync(folder)).toEqual([]);
});
