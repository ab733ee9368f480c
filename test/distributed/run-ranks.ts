// Starts the ranks of tiny trainings as processes of their own, each bounded in time and killed when the test is over.

import { type ChildProcess, spawn } from 'node:child_process';
import { createServer } from 'node:net';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const SCRIPT = join(dirname(fileURLToPath(import.meta.url)), 'train-family.mjs');
const LIMIT_MS = 120_000;
const running = new Set<ChildProcess>();

export type Said = Record<string, unknown> & { kind?: string };

export interface Rank {
  readonly process: ChildProcess;
  readonly said: Said[];
  /** Exit code, or the name of the signal. */
  readonly ended: Promise<number | string>;
  /** Resolves when it has said this, or fails when it ends before. */
  until(what: (said: Said) => boolean): Promise<void>;
}

/** For afterEach. */
export function killAll(): void {
  for (const child of running) child.kill('SIGKILL');
  running.clear();
}

export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** @param settings of all ranks, or of each by its rank */
export async function startRanks(
  family: string,
  folder: string,
  size: number,
  settings: object | ((rank: number) => object) = {},
  place: { address?: string; command?: (rank: number) => string[] } = {},
): Promise<Rank[]> {
  const { address = '127.0.0.1', command = () => [] } = place;
  const world = { WORLD_SIZE: `${size}`, MASTER_ADDR: address, MASTER_PORT: `${await freePort()}` };
  return Array.from({ length: size }, (_, rank) => {
    const own = typeof settings === 'function' ? settings(rank) : settings;
    const words = [...command(rank), process.execPath, SCRIPT, family, folder, JSON.stringify(own)];
    return start(words, size === 1 ? {} : { ...world, RANK: `${rank}`, LOCAL_RANK: `${rank}` });
  });
}

function start([program, ...words]: string[], env: Record<string, string>): Rank {
  const child = spawn(program!, words, {
    env: { ...process.env, OMP_NUM_THREADS: '1', ...env },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  running.add(child);
  const limit = setTimeout(() => child.kill('SIGKILL'), LIMIT_MS);
  const said: Said[] = [];
  const waiting: { what: (said: Said) => boolean; resolve: () => void }[] = [];
  let rest = '';
  child.stdout!.on('data', (chunk) => {
    const lines = `${rest}${chunk}`.split('\n');
    rest = lines.pop()!;
    for (const line of lines) {
      const value = JSON.parse(line) as Said;
      said.push(value);
      for (const { what, resolve } of waiting) if (what(value)) resolve();
    }
  });
  const ended = new Promise<number | string>((resolve) => {
    child.once('close', (code, signal) => {
      clearTimeout(limit);
      running.delete(child);
      resolve(code ?? signal ?? 'unknown');
    });
  });
  const until = (what: (said: Said) => boolean): Promise<void> =>
    said.some(what)
      ? Promise.resolve()
      : new Promise((resolve, reject) => {
          waiting.push({ what, resolve });
          void ended.then((end) => reject(new Error(`ended with ${end}: ${JSON.stringify(said.at(-1))}`)));
        });
  return { process: child, said, ended, until };
}

/** Runs a training to its end on all ranks. Returns what each said; throws unless all end well. */
export async function trainOn(family: string, folder: string, size: number, settings: object = {}): Promise<Said[][]> {
  const ranks = await startRanks(family, folder, size, settings);
  const ends = await Promise.all(ranks.map(({ ended }) => ended));
  const bad = ends.findIndex((end) => end !== 0);
  if (bad !== -1) throw new Error(`rank ${bad} ended with ${ends[bad]}: ${JSON.stringify(ranks[bad]!.said.at(-1))}`);
  return ranks.map(({ said }) => said);
}
