import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { readEvents } from '@tessera/formats';
import { withFile } from '@tessera/formats/node';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { openRun } from './run-folder.ts';

const CONFIG = { training: { seed: 1, eps: 1e-8, betas: [0.9, 0.999], clip: undefined }, model: { name: 'x' } };

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tessera run '));
});
afterEach(() => {
  rmSync(folder, { recursive: true });
});

function eventTags(): string[] {
  const name = readdirSync(folder).find((entry) => entry.startsWith('events.out.tfevents.'))!;
  const events = withFile(join(folder, name), (reader) => readEvents(reader));
  return events.map((event) => event.fileVersion ?? `${event.step} ${event.values[0]!.tag}`);
}

test('a new run has its settings and its environment on disk', () => {
  openRun(folder, CONFIG).close();
  expect(parse(readFileSync(join(folder, 'config.yaml'), 'utf8'))).toEqual(JSON.parse(JSON.stringify(CONFIG)));
  const { starts } = JSON.parse(readFileSync(join(folder, 'environment.json'), 'utf8'));
  expect(starts).toHaveLength(1);
  expect(starts[0]).toMatchObject({ node: process.versions.node, threads: expect.any(Number), tessera: '0.1.0' });
  expect(existsSync(join(folder, 'samples'))).toBe(true);
  expect(existsSync(join(folder, 'run.lock'))).toBe(false);
  openRun(folder, CONFIG).close();
  expect(JSON.parse(readFileSync(join(folder, 'environment.json'), 'utf8')).starts).toHaveLength(2);
});

test('other settings are refused, with the keys that differ; the order of keys does not matter', () => {
  openRun(folder, CONFIG).close();
  openRun(folder, { model: { name: 'x' }, training: { betas: [0.9, 0.999], eps: 1e-8, seed: 1 } }).close();
  const other = { training: { ...CONFIG.training, seed: 2, betas: [0.9, 0.99] }, model: { name: 'x', extra: true } };
  expect(() => openRun(folder, other)).toThrow(
    expect.objectContaining({
      code: 'RUN_CONFIG_DIFFERS',
      message: expect.stringContaining(
        '(model.extra: nothing there, true now; training.betas: [0.9,0.999] there, [0.9,0.99] now; ' +
          'training.seed: 1 there, 2 now)',
      ),
    }),
  );
  // The refused start has let go of the lock.
  openRun(folder, CONFIG).close();
});

test('growing files are cut to the recorded lengths', () => {
  const run = openRun(folder, CONFIG);
  run.openLogs();
  run.log(1, 'train', { loss: 0.5 });
  const lengths = run.logLengths();
  run.log(2, 'train', { loss: 0.25 });
  run.curves(2, 'speed', { itemsPerSecond: 10 });
  run.close();
  expect(eventTags()).toEqual(['brain.Event:2', '1 train/loss', '2 train/loss', '2 speed/itemsPerSecond']);

  const again = openRun(folder, CONFIG);
  expect(again.openLogs(lengths)).toEqual([]);
  again.log(2, 'evaluation', { psnr: 20 });
  again.close();
  expect(readFileSync(run.metricsPath, 'utf8')).toBe(
    '{"step":1,"kind":"train","loss":0.5}\n{"step":2,"kind":"evaluation","psnr":20}\n',
  );
  expect(eventTags()).toEqual(['brain.Event:2', '1 train/loss', '2 evaluation/psnr']);

  const shorter = openRun(folder, CONFIG);
  expect(shorter.openLogs({ ...lengths, metrics: 5000 })[0]).toContain('metrics.jsonl had lost its end');
  shorter.close();
});

describe('the lock', () => {
  const lock = () => join(folder, 'run.lock');

  test('keeps a second opener out until the first closes', () => {
    const run = openRun(folder, CONFIG);
    expect(() => openRun(folder, CONFIG)).toThrow(
      expect.objectContaining({ code: 'RUN_BUSY', message: expect.stringContaining(`process ${process.pid}`) }),
    );
    run.close();
    openRun(folder, CONFIG).close();
  });

  test('of a process that is gone is broken', () => {
    const { pid } = spawnSync(process.execPath, ['-e', '']);
    writeFileSync(lock(), JSON.stringify({ pid, host: hostname(), started: '' }));
    openRun(folder, CONFIG).close();
    expect(readdirSync(folder).filter((name) => name.startsWith('run.lock'))).toEqual([]);
  });

  test('of an earlier process with the number of a living one is broken', () => {
    writeFileSync(lock(), JSON.stringify({ pid: process.pid, host: hostname(), started: 'another boot 1' }));
    openRun(folder, CONFIG).close();
  });

  test('of another machine holds, and the message says what to delete', () => {
    writeFileSync(lock(), JSON.stringify({ pid: 1, host: 'elsewhere', started: '' }));
    expect(() => openRun(folder, CONFIG)).toThrow(`delete ${lock()}`);
  });

  test('that is torn is broken', () => {
    writeFileSync(lock(), '{"pi');
    openRun(folder, CONFIG).close();
  });
});
