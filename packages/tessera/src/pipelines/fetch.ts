/**
 * `tessera fetch`: public files by name. A download goes to FILE.part and goes on from there when it was cut (HTTP Range,
 * guarded by the server's ETag), is checked where a hash is published, and gets its name when it is whole. Where the
 * network does not allow it, the error says what to download by hand and where to put it; the same command then checks it.
 */

import { createHash } from 'node:crypto';
import {
  closeSync,
  createReadStream,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { nearest } from '@tessera/schedule';
import { PipelineError, type PipelineEvent } from './events.ts';
import { PUBLIC_FILES, type PublicFile } from './official/public-files.ts';

export interface FetchOptions {
  /** Names of the list; none: the result is the list. */
  names: readonly string[];
  /** Folder for all; default `weights`. */
  out?: string | undefined;
  signal?: AbortSignal | undefined;
  /** The files there are; for tests. */
  files?: readonly PublicFile[];
}

/** How often a download that was cut is taken up again before giving up. */
const ATTEMPTS = 4;
const PROGRESS_BYTES = 1 << 22;

export async function* fetchFiles(options: FetchOptions): AsyncGenerator<PipelineEvent> {
  const { names, files = PUBLIC_FILES, signal } = options;
  const out = options.out ?? 'weights';
  if (names.length === 0) {
    const list = files.map((file) => ({ ...file, there: existsSync(join(out, file.file)) }));
    yield { kind: 'result', result: { out, files: list } };
    return;
  }
  const chosen = names.map((name) => find(name, files));
  const done: { name: string; path: string; verified: boolean }[] = [];
  for (const file of chosen) {
    const path = join(out, file.file);
    if (!existsSync(path)) {
      yield { kind: 'stage', stage: 'fetch', message: `${file.what}: ${file.url}` };
      yield* download(file, path, signal);
    }
    await verify(file, path, path);
    const verified = file.md5 !== undefined || file.sha256 !== undefined;
    if (!verified) yield { kind: 'note', message: `${path}: no hash is published, so only its length was compared` };
    done.push({ name: file.name, path, verified });
    yield { kind: 'file', path, what: file.what };
  }
  yield { kind: 'result', result: { out, files: done } };
}

function find(name: string, files: readonly PublicFile[]): PublicFile {
  const found = files.find((file) => file.name === name);
  if (found !== undefined) return found;
  const known = files.map((file) => file.name);
  const near = nearest(name, known);
  const hint = near === undefined ? `there are ${known.join(', ')}` : `did you mean ${near}?`;
  throw new PipelineError('UNKNOWN_FILE', `"${name}" is no public file known here: ${hint}`);
}

/** Downloads to `path`, from where an earlier attempt ended. */
async function* download(
  file: PublicFile,
  path: string,
  signal: AbortSignal | undefined,
): AsyncGenerator<PipelineEvent> {
  const part = `${path}.part`;
  mkdirSync(dirname(path), { recursive: true });
  for (let attempt = 1; ; attempt++) {
    const before = sizeOf(part);
    try {
      yield* attemptDownload(file, part, signal);
      break;
    } catch (error) {
      signal?.throwIfAborted();
      if (error instanceof PipelineError) throw error;
      const progressed = sizeOf(part) > before;
      if (attempt >= ATTEMPTS || !progressed) throw unreachable(file, path, error as Error);
      yield {
        kind: 'note',
        message: `cut after ${sizeOf(part)} bytes (${reason(error as Error)}): going on from there`,
      };
    }
  }
  await verify(file, part, path);
  rmSync(`${part}.etag`, { force: true });
  renameSync(part, path);
}

async function* attemptDownload(
  file: PublicFile,
  part: string,
  signal: AbortSignal | undefined,
): AsyncGenerator<PipelineEvent> {
  const have = sizeOf(part);
  const etag = have > 0 && existsSync(`${part}.etag`) ? readFileSync(`${part}.etag`, 'utf8') : '';
  // Without an ETag nothing says that the file is still the same one.
  const resuming = have > 0 && etag !== '';
  const response = await fetch(file.url, {
    headers: resuming ? { range: `bytes=${have}-`, 'if-range': etag } : {},
    ...(signal === undefined ? {} : { signal }),
  });
  const range = /^bytes (\d+)-\d+\/(\d+)$/.exec(response.headers.get('content-range') ?? '');
  if (response.status === 416) {
    await response.body?.cancel();
    // All of it was here when the last attempt ended.
    if (response.headers.get('content-range') === `bytes */${have}`) return;
    rmSync(part);
    throw new Error('the server has another file now');
  }
  if (!response.ok) throw new Error(`the server answered ${response.status} ${response.statusText}`);
  if (response.headers.get('content-type')?.startsWith('text/html') === true) {
    await response.body?.cancel();
    throw new Error('the server sent a web page instead of the file');
  }
  const goesOn = response.status === 206 && range !== null && Number(range[1]) === have;
  const start = goesOn ? have : 0;
  const length = response.headers.get('content-length');
  const total = goesOn ? Number(range[2]) : length === null ? undefined : Number(length);
  const sent = response.headers.get('etag');
  // A weak ETag does not promise the same bytes.
  writeFileSync(`${part}.etag`, sent === null || sent.startsWith('W/') ? '' : sent);
  yield* save(response, part, start, total, file);
}

async function* save(
  response: Response,
  part: string,
  start: number,
  total: number | undefined,
  file: PublicFile,
): AsyncGenerator<PipelineEvent> {
  const descriptor = openSync(part, start > 0 ? 'r+' : 'w');
  let done = start;
  let shown = start;
  const began = performance.now();
  try {
    for await (const chunk of response.body as unknown as AsyncIterable<Uint8Array>) {
      for (let at = 0; at < chunk.length; ) at += writeSync(descriptor, chunk, at, chunk.length - at, done + at);
      done += chunk.length;
      if (done - shown < PROGRESS_BYTES) continue;
      shown = done;
      const rate = (done - start) / 1e6 / Math.max(1e-3, (performance.now() - began) / 1000);
      const expected = Math.max(done, total ?? file.about ?? 0);
      yield { kind: 'progress', stage: 'fetch', done: done / 1e6, total: expected / 1e6, unit: 'MB', rate };
    }
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
  if (total !== undefined && done !== total) throw new Error(`${done} of ${total} bytes came`);
}

/** Throws, and removes a part, when the bytes are not the published ones. */
async function verify(file: PublicFile, path: string, finalPath: string): Promise<void> {
  for (const kind of ['md5', 'sha256'] as const) {
    const expected = file[kind];
    if (expected === undefined) continue;
    const got = await hashOf(path, kind);
    if (got.startsWith(expected)) continue;
    if (path !== finalPath) rmSync(path);
    const kept = path === finalPath ? 'Remove it and run this again' : 'It was removed; run this again';
    throw new PipelineError(
      'WRONG_HASH',
      `${finalPath} is not the published file: expected ${kind.toUpperCase()} ${expected}${expected.length < got.length ? '…' : ''}, got ${got}. ${kept}, or fetch ${file.url} by hand.`,
    );
  }
}

async function hashOf(path: string, kind: 'md5' | 'sha256'): Promise<string> {
  const hash = createHash(kind);
  for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer);
  return hash.digest('hex');
}

function unreachable(file: PublicFile, path: string, cause: Error): PipelineError {
  return new PipelineError(
    'FETCH_FAILED',
    `${file.url} cannot be fetched (${reason(cause)}). Run this again to go on, or download it by hand, put it at ${resolve(path)} and run this again to check it.`,
    { cause },
  );
}

/** fetch() hides the system's error in the cause. */
function reason(error: Error): string {
  const inner = error.cause instanceof Error ? error.cause : error;
  return (inner as NodeJS.ErrnoException).code ?? inner.message;
}

function sizeOf(path: string): number {
  return existsSync(path) ? statSync(path).size : 0;
}
