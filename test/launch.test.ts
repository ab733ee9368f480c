// The launcher with small shell commands as ranks: who they are, what is passed on, and how failures end.

import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, expect, test } from 'vitest';
import { freePort } from './distributed/run-ranks.ts';

const TESSERA = join(resolve(dirname(fileURLToPath(import.meta.url)), '..'), 'packages/tessera/bin/tessera.js');
const LIMIT = { timeout: 60_000 };
const started = new Set<ReturnType<typeof spawn>>();

afterEach(() => {
  for (const child of started) child.kill('SIGTERM');
  started.clear();
});

interface Ended {
  code: number | null;
  stdout: string[];
  stderr: string;
}

function launch(
  flags: string[],
  script: string,
): { ended: Promise<Ended>; process: ReturnType<typeof spawn>; said(text: string): Promise<void> } {
  const child = spawn(process.execPath, [TESSERA, 'launch', ...flags, '--', 'sh', '-c', script], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  started.add(child);
  let [stdout, stderr] = ['', ''];
  const heard = new Map<string, () => void>();
  child.stdout!.on('data', (chunk) => {
    stdout += chunk;
    for (const [text, resolve] of heard) if (stdout.includes(text)) resolve();
  });
  child.stderr!.on('data', (chunk) => {
    stderr += chunk;
  });
  const ended = new Promise<Ended>((resolve) => {
    child.once('close', (code) => {
      started.delete(child);
      resolve({ code, stdout: stdout.trim().split('\n').sort(), stderr });
    });
  });
  return { ended, process: child, said: (text) => new Promise<void>((resolve) => void heard.set(text, resolve)) };
}

test('tells ranks who they are and marks their lines', LIMIT, async () => {
  const script =
    'echo "$RANK $LOCAL_RANK of $WORLD_SIZE at $MASTER_ADDR, attempt $TORCHELASTIC_RESTART_COUNT"; echo oops >&2';
  const { code, stdout, stderr } = await launch(['--nproc-per-node', '2'], script).ended;
  expect(code).toBe(0);
  expect(stdout).toEqual(['0 0 of 2 at 127.0.0.1, attempt 0', '[1] 1 1 of 2 at 127.0.0.1, attempt 0']);
  expect(stderr.trim().split('\n').sort()).toEqual(['[0] oops', '[1] oops']);
});

test('starts a failed group again, then gives up with the code of the rank that failed', LIMIT, async () => {
  const folder = mkdtempSync(join(tmpdir(), 'tessera-launch-'));
  try {
    const script = `echo x >> ${folder}/$RANK; [ $RANK = 0 ] && exec sleep 60; [ $TORCHELASTIC_RESTART_COUNT = 1 ] && exit 7; kill -9 $$`;
    const { code, stderr } = await launch(['--nproc-per-node', '2', '--max-restarts', '1'], script).ended;
    expect(code).toBe(7);
    expect([0, 1].map((rank) => readFileSync(join(folder, `${rank}`), 'utf8'))).toEqual(['x\nx\n', 'x\nx\n']);
    expect(stderr).toMatch(/warning: rank 1 \(process \d+\) was killed by SIGKILL .* starting again \(1 of 1\)/);
    expect(stderr).toMatch(/starting again[\s\S]*tessera: rank 1 \(process \d+\) ended with code 7/);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('passes SIGTERM on, waits for the ranks, and ends with 143', LIMIT, async () => {
  const script = 'trap "echo saved; exit 143" TERM; echo up $RANK; while :; do sleep 0.1; done';
  const run = launch(['--nproc-per-node', '2', '--max-restarts', '3'], script);
  await Promise.all([run.said('up 0'), run.said('up 1')]);
  run.process.kill('SIGTERM');
  const { code, stdout, stderr } = await run.ended;
  expect(code).toBe(143);
  expect(stdout).toEqual(['[1] saved', '[1] up 1', 'saved', 'up 0']);
  expect(stderr).not.toContain('starting again');
});

test('two launchers count their ranks as one world, and start again together', LIMIT, async () => {
  const flags = ['--nproc-per-node', '2', '--nnodes', '2', '--rdzv', `127.0.0.1:${await freePort()}`];
  const script =
    'echo $RANK/$WORLD_SIZE $LOCAL_RANK $TORCHELASTIC_RESTART_COUNT; [ $RANK$TORCHELASTIC_RESTART_COUNT = 30 ] && exit 5; sleep 0.2';
  const nodes = ['1', '0'].map((node) => launch([...flags, '--max-restarts', '1', '--node-rank', node], script));
  const [second, first] = await Promise.all(nodes.map(({ ended }) => ended));
  expect([first!.code, second!.code]).toEqual([0, 0]);
  expect(first!.stdout).toEqual(['0/4 0 0', '0/4 0 1', '[1] 1/4 1 0', '[1] 1/4 1 1']);
  expect(second!.stdout).toEqual(['[2] 2/4 0 0', '[2] 2/4 0 1', '[3] 3/4 1 0', '[3] 3/4 1 1']);
  expect(first!.stderr).toMatch(/warning: rank 3 \(process \d+\) ended with code 5/);
});

test('says what is missing', LIMIT, async () => {
  const { code, stderr } = await launch(['--nproc-per-node', '1', '--nnodes', '2'], 'true').ended;
  expect([code, stderr]).toEqual([1, 'tessera: --nnodes 2: expected --rdzv HOST:PORT of the first machine as well.\n']);
});
