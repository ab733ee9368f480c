// `npm run bench -- distributed`: what several processes cost. Four tables, each from one run in which the cases take turns:
// a training step on one process and on two, with what of the exchange is seen and what is hidden behind the backward pass;
// all-reduce against bare sockets; checkpoints against the disk; a killed rank until the next step is trained. Reported is
// the shortest of the rounds: what else the machine does only adds. `bench/plan.mjs` fits docs/planning.md on the result.

import { execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  closeSync,
  fsyncSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Draws } from '@tessera/schedule';
import { keep, noGrad, rand, saveSafetensors, scope, setNumThreads } from '@tessera/torch';
import { openTokens, TokenDatasetWriter } from 'tessera';
import { findCheckpoints, writeCheckpoint } from '../packages/tessera/dist/training/checkpoint.js';
import { StoredTensors } from '../packages/tessera/dist/training/stored-tensors.js';
import { describeMachine, machine } from './machine.mjs';

const RANK = fileURLToPath(new URL('./distributed-rank.mjs', import.meta.url));
const TESSERA = fileURLToPath(new URL('../packages/tessera/bin/tessera.js', import.meta.url));
const MEBIBYTE = 2 ** 20;
const SIZES = [1, 4, 16, 64];
const CHECKPOINT_MIB = 256;

/** @returns what bench/plan.mjs reads */
export async function bench({ json, rounds }) {
  setNumThreads(1);
  const about = machine();
  const { steps, allReduce } = await ranks(rounds);
  const sockets = socketSeconds(rounds);
  const result = {
    bench: 'distributed',
    machine: about,
    steps,
    allReduce: allReduce.map(({ mebibytes, seconds }, i) => ({ mebibytes, seconds, socketSeconds: sockets[i] })),
    checkpoint: await checkpointSeconds(Math.min(rounds, 3)),
    rowsPerSecond: rowsPerSecond(rounds),
    restart: await restartSeconds(),
  };
  if (json) process.stdout.write(`${JSON.stringify(result, undefined, 2)}\n`);
  else print(result);
  return result;
}

/** Steps and all-reduces on two ranks, as rank 0 tells them. */
async function ranks(rounds) {
  const port = await freePort();
  const told = [0, 1].map((rank) => {
    const env = { ...process.env, OMP_NUM_THREADS: '1', RANK: `${rank}`, LOCAL_RANK: `${rank}`, WORLD_SIZE: '2' };
    Object.assign(env, { MASTER_ADDR: '127.0.0.1', MASTER_PORT: `${port}` });
    const child = spawn(process.execPath, [RANK, `${rounds}`, SIZES.join()], {
      env,
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let output = '';
    child.stdout.on('data', (chunk) => {
      output += chunk;
    });
    return new Promise((resolve, reject) => {
      child.once('close', (code) =>
        code === 0 ? resolve(output) : reject(new Error(`rank ${rank} ended with ${code}`)),
      );
    });
  });
  return JSON.parse((await Promise.all(told))[0]);
}

/** The kernel's own speed: two processes of Python, whose sockets hand over memory without looking at it. */
const SOCKETS = `
import os, socket, sys, threading, time
rounds, sizes = int(sys.argv[1]), [int(size) << 20 for size in sys.argv[2].split(',')]
server = socket.create_server(('127.0.0.1', 0))
if os.fork() == 0: own = socket.create_connection(server.getsockname())
else: own = server.accept()[0]
own.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
for size in sizes:
    out, into, best = bytearray(size), memoryview(bytearray(size)), 1e9
    for _ in range(rounds + 1):
        own.sendall(b'.'); own.recv(1)
        began = time.perf_counter()
        sender = threading.Thread(target=own.sendall, args=(out,)); sender.start()
        got = 0
        while got < size: got += own.recv_into(into[got:])
        sender.join()
        best = min(best, time.perf_counter() - began)
    if server and own.getsockname() == server.getsockname(): print(best, flush=True)
`;

/** Both processes of an all-reduce send and receive as many bytes as the tensor has; so do both ends here. */
function socketSeconds(rounds) {
  try {
    const output = execFileSync('python3', ['-c', SOCKETS, `${rounds}`, SIZES.join()], { encoding: 'utf8' });
    return output.trim().split('\n').map(Number);
  } catch {
    return SIZES.map(() => undefined); // no Python here
  }
}

/** A checkpoint of random weights, and as many bytes without anything around them. */
async function checkpointSeconds(rounds) {
  const folder = mkdtempSync(join(tmpdir(), 'tessera-bench-'));
  const bytes = CHECKPOINT_MIB * MEBIBYTE;
  const tensors = new Map(Array.from({ length: 16 }, (_, i) => [`w${i}`, keep(noGrad(() => rand([bytes / 64])))]));
  const raw = randomBytes(bytes / 16);
  const [write, rawWrite, read, rawRead] = [[], [], [], []];
  try {
    for (let round = 0; round < rounds; round++) {
      rawWrite.push(timed(() => writeRaw(join(folder, 'raw'), raw, 16)));
      const began = performance.now();
      const files = [['model.safetensors', (path) => saveSafetensors(path, tensors)]];
      const { path } = await writeCheckpoint(join(folder, 'checkpoints'), 1, files);
      write.push((performance.now() - began) / 1000);
      rawRead.push(timed(() => readRaw(join(folder, 'raw'))));
      read.push(
        timed(() => {
          findCheckpoints(join(folder, 'checkpoints'));
          const stored = new StoredTensors(path, 'model');
          scope(() => void stored.readAll());
          stored.close();
        }),
      );
    }
  } finally {
    rmSync(folder, { recursive: true });
    for (const tensor of tensors.values()) tensor.dispose();
  }
  const [seconds, rawSeconds] = [Math.min(...write), Math.min(...rawWrite)];
  return { bytes, write: seconds, rawWrite: rawSeconds, read: Math.min(...read), rawRead: Math.min(...rawRead) };
}

function writeRaw(path, bytes, times) {
  const file = openSync(path, 'w');
  for (let i = 0; i < times; i++) for (let at = 0; at < bytes.length; ) at += writeSync(file, bytes, at);
  fsyncSync(file);
  closeSync(file);
}

function readRaw(path) {
  const file = openSync(path, 'r');
  const buffer = Buffer.allocUnsafe(MEBIBYTE);
  while (readSync(file, buffer) > 0);
  closeSync(file);
}

/** Rows of 256 tokens in random order from a data set on disk, in batches of 32. */
function rowsPerSecond(rounds) {
  const [rows, batch] = [4096, 32];
  const folder = mkdtempSync(join(tmpdir(), 'tessera-bench-'));
  const writer = new TokenDatasetWriter(join(folder, 'tokens'), {
    gridSize: 16,
    codebookSize: 1024,
    classes: ['a', 'b'],
  });
  for (let i = 0; i < rows; i++)
    writer.add(
      i % 2,
      Array.from({ length: 256 }, (_, j) => (i * 7 + j * 31) % 1024),
    );
  writer.finish();
  const data = openTokens([join(folder, 'tokens')]);
  const seconds = Array.from({ length: rounds }, (_, round) =>
    timed(() => {
      for (let at = 0; at < 1024; at += batch) {
        const items = Array.from({ length: batch }, (_, i) => ((at + i + round) * 2654435761) % rows);
        scope(() => data.rows(items, new Draws(1, at, 0, 0)));
      }
    }),
  );
  data.dispose();
  rmSync(folder, { recursive: true });
  return 1024 / Math.min(...seconds);
}

/** Kills rank 1 of a launched training; when the launcher says so, when ranks train again, and how many steps were lost. */
async function restartSeconds() {
  const folder = mkdtempSync(join(tmpdir(), 'tessera-bench-'));
  const writer = new TokenDatasetWriter(join(folder, 'tokens'), {
    gridSize: 8,
    codebookSize: 1024,
    classes: ['a', 'b'],
  });
  for (let i = 0; i < 256; i++)
    writer.add(
      i % 2,
      Array.from({ length: 64 }, (_, j) => (i * 7 + j * 31) % 1024),
    );
  writer.finish();
  const train = ['train', '--model', 'enat-nano', '--data', join(folder, 'tokens'), '--out', join(folder, 'run')];
  const sizes = ['--steps', '1000', '--global-batch', '8', '--shard-size', '4', '--checkpoint-every', '5', '--json'];
  const words = ['launch', '--nproc-per-node', '2', '--max-restarts', '1', '--', ...train, ...sizes];
  const child = spawn(process.execPath, [TESSERA, ...words], { env: { ...process.env, OMP_NUM_THREADS: '1' } });
  try {
    let [killedAt, killedStep, noticed, warned] = [0, 0, 0, 0];
    child.stderr.on('data', (chunk) => {
      if (killedAt > 0 && noticed === 0) noticed = performance.now();
      if (String(chunk).includes('starting again')) warned = performance.now();
    });
    let rest = '';
    const again = await new Promise((resolve, reject) => {
      child.once('close', () => reject(new Error(`the launcher has ended: ${rest}`)));
      child.stdout.on('data', (chunk) => {
        const lines = `${rest}${chunk}`.split('\n');
        rest = lines.pop();
        for (const line of lines.filter((text) => text.startsWith('{'))) {
          const { kind, done } = JSON.parse(line);
          if (kind !== 'progress') continue;
          if (killedAt === 0 && done >= 12) {
            killedStep = done;
            process.kill(rankOne(child.pid), 'SIGKILL');
            killedAt = performance.now();
          } else if (warned > 0) resolve({ at: performance.now(), step: done });
        }
      });
    });
    return {
      untilAllEnded: (warned - killedAt) / 1000,
      untilNextStep: (again.at - killedAt) / 1000,
      stepsLost: killedStep - (again.step - 1),
    };
  } finally {
    child.kill('SIGTERM');
    await new Promise((resolve) => (child.exitCode === null ? child.once('close', resolve) : resolve()));
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Of a launcher's children, the one that is rank 1. */
function rankOne(launcher) {
  for (const thread of readdirSync(`/proc/${launcher}/task`)) {
    const children = readFileSync(`/proc/${launcher}/task/${thread}/children`, 'utf8').trim().split(' ');
    const found = children.find(
      (pid) => pid !== '' && readFileSync(`/proc/${pid}/environ`, 'utf8').includes('\0RANK=1\0'),
    );
    if (found !== undefined) return Number(found);
  }
  throw new Error('rank 1 was not found');
}

async function freePort() {
  const server = createServer();
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

function timed(body) {
  const began = performance.now();
  body();
  return (performance.now() - began) / 1000;
}

export function print({ machine: about, steps, allReduce, checkpoint, restart, rowsPerSecond: rows }) {
  const ms = (seconds) => `${(1000 * seconds).toFixed(1)} ms`;
  const rate = (bytes, seconds) => `${Math.round(bytes / seconds / 1e6)} MB/s`;
  // A shared step that is no longer than one without exchange only shows how busy the machine was.
  const shareOf = ({ shared, without }) => (shared > without ? percent(1 - without / shared) : '–');
  const hiddenOf = ({ shared, without, exchange }) => (shared > without ? percent(Math.max(0, 1 - (shared - without) / exchange)) : '–'); // biome-ignore format: one row
  const times = (ratio) => `${ratio.toFixed(2)} times`;
  const percent = (share) => `${Math.round(100 * share)} %`;
  const { processor, batch, parameters } = steps;
  const table = (header, rows) => [header, header.map((title) => '-'.repeat(title.length)), ...rows].map((row) => `| ${row.join(' | ')} |`); // biome-ignore format: one row
  process.stdout.write(
    `${[
      describeMachine(about),
      '',
      ...table(
        [
          `a step of enat-nano, ${(parameters / 1e6).toFixed(1)} million parameters, batch ${batch}`,
          'on the clock',
          "of a process's processor",
        ],
        [
          ['one process', ms(steps.alone), ms(processor.alone)],
          ['two processes', ms(steps.shared), ms(processor.shared)],
          ['speed-up from 1 to 2', times(steps.alone / steps.shared), times(processor.alone / processor.shared)],
          ['two processes without exchange', ms(steps.without), ms(processor.without)],
          ['the exchange alone', ms(steps.exchange), ms(processor.exchange)],
          ['share of the step that is communication', shareOf(steps), shareOf(processor)],
          ['of the exchange hidden behind the backward pass', hiddenOf(steps), '–'],
        ],
      ),
      '',
      ...table(
        ['all-reduce on two ranks', 'time', 'bytes sent by each', 'bare sockets', 'of their speed'],
        allReduce.map(({ mebibytes, seconds, socketSeconds: bare }) => [
          `${mebibytes} MiB`,
          ms(seconds),
          rate(mebibytes * MEBIBYTE, seconds),
          bare === undefined ? '–' : rate(mebibytes * MEBIBYTE, bare),
          bare === undefined ? '–' : percent(bare / seconds),
        ]),
      ),
      '',
      ...table(
        [`checkpoint of ${checkpoint.bytes / MEBIBYTE} MiB`, 'speed', 'the disk', 'of its speed'],
        [
          ['written, flushed, hashed', rate(checkpoint.bytes, checkpoint.write), rate(checkpoint.bytes, checkpoint.rawWrite), percent(checkpoint.rawWrite / checkpoint.write)], // biome-ignore format: one row
          ['checked and read', rate(checkpoint.bytes, checkpoint.read), rate(checkpoint.bytes, checkpoint.rawRead), percent(checkpoint.rawRead / checkpoint.read)], // biome-ignore format: one row
        ],
      ),
      '',
      ...table(
        ['rank 1 of 2 killed', 'value'],
        [
          ['until all ranks have ended', `${restart.untilAllEnded.toFixed(1)} s`],
          ['until the first step after the restart', `${restart.untilNextStep.toFixed(1)} s`],
          ['steps trained again (a checkpoint every 5)', String(restart.stepsLost)],
        ],
      ),
      '',
      `${Math.round(rows)} rows of 256 tokens a second are read by one process.`,
    ].join('\n')}\n`,
  );
}
