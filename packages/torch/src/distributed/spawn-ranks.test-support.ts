// Starts a program as the ranks of a world: Node processes on loopback with torchrun's environment and a free port. Each
// is bounded in time, and all are killed when the test ends, whatever happened.

import { type ChildProcess, spawn } from 'node:child_process';
import { createServer } from 'node:net';

export interface EndedRank {
  /** Exit code, or the name of the signal that ended it. */
  readonly end: number | string;
  /** What it printed with `say(value)`, parsed. */
  readonly said: unknown[];
  readonly stderr: string;
}

export interface RunningRank {
  readonly process: ChildProcess;
  readonly ended: Promise<EndedRank>;
  /** Resolves once the rank has said this. */
  heard(value: string): Promise<void>;
}

const running = new Set<ChildProcess>();
const LIMIT_MS = 90_000;

/** For afterEach. */
export function killRanks(): void {
  for (const child of running) child.kill('SIGKILL');
  running.clear();
}

/** A port that was free a moment ago. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/**
 * `program`: the body of an async function of T (the built package), `say`, `rank` and `worldSize`. Starts the ranks that
 * are named.
 */
export function startRanks(program: string, ranks: readonly number[], worldSize: number, port: number): RunningRank[] {
  const source = `
    import * as T from ${JSON.stringify(new URL('../../dist/index.js', import.meta.url).href)};
    const rank = Number(process.env.RANK), worldSize = Number(process.env.WORLD_SIZE);
    const say = (value) => process.stdout.write(JSON.stringify(value) + '\\n');
    const tell = (error) => ({ name: error.name, code: error.code, message: error.message, ranks: error.ranks });
    ${program}
  `;
  return ranks.map((rank) => {
    const env = {
      ...process.env,
      ...{ RANK: String(rank), LOCAL_RANK: String(rank), WORLD_SIZE: String(worldSize), OMP_NUM_THREADS: '1' },
      ...{ MASTER_ADDR: '127.0.0.1', MASTER_PORT: String(port) },
    };
    const child = spawn(process.execPath, ['--input-type=module', '--eval', source], { env });
    running.add(child);
    const limit = setTimeout(() => child.kill('SIGKILL'), LIMIT_MS);
    const said: unknown[] = [];
    const waiting: { value: string; resolve: () => void }[] = [];
    let [stderr, rest] = ['', ''];
    child.stderr.on('data', (chunk) => (stderr += chunk));
    child.stdout.on('data', (chunk) => {
      const lines = `${rest}${chunk}`.split('\n');
      rest = lines.pop()!;
      said.push(...lines.map((line) => JSON.parse(line)));
      for (const { value, resolve } of waiting) if (said.includes(value)) resolve();
    });
    const ended = new Promise<EndedRank>((resolve) => {
      child.once('close', (code, signal) => {
        clearTimeout(limit);
        running.delete(child);
        resolve({ end: code ?? signal ?? 'unknown', said, stderr });
      });
    });
    const heard = (value: string) =>
      said.includes(value)
        ? Promise.resolve()
        : new Promise<void>((resolve, reject) => {
            waiting.push({ value, resolve });
            void ended.then(({ stderr }) => reject(new Error(`rank ${rank} ended before it said ${value}: ${stderr}`)));
          });
    return { process: child, ended, heard };
  });
}

/** All ranks of a world, to their ends. */
export async function runRanks(program: string, worldSize: number): Promise<EndedRank[]> {
  const ranks = Array.from({ length: worldSize }, (_, rank) => rank);
  return Promise.all(startRanks(program, ranks, worldSize, await freePort()).map(({ ended }) => ended));
}
