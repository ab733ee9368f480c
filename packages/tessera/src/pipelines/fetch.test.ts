import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { PipelineEvent } from './events.ts';
import { fetchFiles } from './fetch.ts';
import { PUBLIC_FILES, type PublicFile } from './official/public-files.ts';

const BYTES = Buffer.from(Uint8Array.from({ length: 300_000 }, (_, i) => (i * 7919) >> 5));
const SHA256 = createHash('sha256').update(BYTES).digest('hex');

let folder: string;
let server: Server;
let behaviour: (request: IncomingMessage, response: ServerResponse) => void;
let asked: (string | undefined)[];

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'tessera fetch '));
  server = createServer((request, response) => {
    asked.push(request.headers.range);
    behaviour(request, response);
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
});
afterAll(() => {
  server.close();
  rmSync(folder, { recursive: true, force: true });
});
let out: string;
beforeEach(() => {
  asked = [];
  out = mkdtempSync(join(folder, 'out-'));
});

function file(changes: Partial<PublicFile> = {}): PublicFile {
  const { port } = server.address() as AddressInfo;
  return {
    name: 'thing',
    what: 'a thing',
    file: 'sub/thing.bin',
    url: `http://127.0.0.1:${port}/`,
    sha256: SHA256,
    ...changes,
  };
}

async function run(changes: Partial<PublicFile> = {}): Promise<PipelineEvent[]> {
  const events: PipelineEvent[] = [];
  for await (const event of fetchFiles({ names: ['thing'], out, files: [file(changes)] })) events.push(event);
  return events;
}

/** Serves ranges as a good server does; `cut` ends a connection after so many bytes. */
function serve(options: { ranges?: boolean; etag?: string; cut?: (number | undefined)[] } = {}): void {
  const cuts = [...(options.cut ?? [])];
  behaviour = (request, response) => {
    const { ranges = true, etag = '"one"' } = options;
    const range = /^bytes=(\d+)-$/.exec(request.headers.range ?? '');
    const partial = ranges && range !== null && request.headers['if-range'] === etag;
    const start = partial ? Number(range[1]) : 0;
    const body = BYTES.subarray(start);
    response.writeHead(partial ? 206 : 200, {
      'content-length': body.length,
      etag,
      ...(partial && { 'content-range': `bytes ${start}-${BYTES.length - 1}/${BYTES.length}` }),
    });
    const cut = cuts.shift();
    if (cut === undefined) response.end(body);
    else response.write(body.subarray(0, cut), () => setTimeout(() => response.destroy(), 20));
  };
}

const saved = (): Buffer => readFileSync(join(out, 'sub/thing.bin'));

describe('fetch', () => {
  it('downloads, checks and names the file', async () => {
    serve();
    const events = await run();
    expect(saved().equals(BYTES)).toBe(true);
    expect(events.at(-1)).toEqual({ kind: 'result', result: { out, files: [{ name: 'thing', path: join(out, 'sub/thing.bin'), verified: true }] } });
    expect(existsSync(join(out, 'sub/thing.bin.part')) || existsSync(join(out, 'sub/thing.bin.part.etag'))).toBe(false);
    // The second time nothing is asked of the server.
    await run();
    expect(asked).toEqual([undefined]);
  }); // biome-ignore format: long line

  it('goes on where it was cut', async () => {
    serve({ cut: [100_000, 50_000] });
    const events = await run();
    expect(saved().equals(BYTES)).toBe(true);
    expect(asked).toEqual([undefined, 'bytes=100000-', 'bytes=150000-']);
    expect(events.filter(({ kind }) => kind === 'note')).toHaveLength(2);
  });

  it('goes on in another run', async () => {
    serve({ cut: [100_000, 0] });
    await expect(run()).rejects.toMatchObject({ code: 'FETCH_FAILED', message: expect.stringContaining(`put it at ${join(out, 'sub/thing.bin')}`) });
    serve();
    await run();
    expect(asked.at(-1)).toBe('bytes=100000-');
    expect(saved().equals(BYTES)).toBe(true);
  }); // biome-ignore format: long line

  it('takes a file that was whole when a kill came before its check', async () => {
    mkdirSync(join(out, 'sub'), { recursive: true });
    writeFileSync(join(out, 'sub/thing.bin.part'), BYTES);
    writeFileSync(join(out, 'sub/thing.bin.part.etag'), '"one"');
    behaviour = (_, response) => {
      response.writeHead(416, { 'content-range': `bytes */${BYTES.length}` });
      response.end();
    };
    await run();
    expect(saved().equals(BYTES)).toBe(true);
    expect(asked).toEqual([`bytes=${BYTES.length}-`]);
  });

  it('begins anew where the server knows no ranges, or has another file', async () => {
    serve({ ranges: false, cut: [100_000] });
    await run();
    expect(saved().equals(BYTES)).toBe(true);
    rmSync(join(out, 'sub/thing.bin'));
    writeFileSync(join(out, 'sub/thing.bin.part'), 'of an older file');
    writeFileSync(join(out, 'sub/thing.bin.part.etag'), '"old"');
    serve();
    await run();
    expect(saved().equals(BYTES)).toBe(true);
  });

  it('refuses other bytes, and keeps none of them', async () => {
    serve();
    const wrong = { sha256: '00112233' };
    await expect(run(wrong)).rejects.toThrow(`expected SHA256 00112233…, got ${SHA256}`);
    expect(existsSync(join(out, 'sub/thing.bin')) || existsSync(join(out, 'sub/thing.bin.part'))).toBe(false);
    // What was put there by hand is refused, but not removed.
    mkdirSync(join(out, 'sub'), { recursive: true });
    writeFileSync(join(out, 'sub/thing.bin'), 'by hand');
    await expect(run()).rejects.toThrow('Remove it and run this again');
    expect(saved().toString()).toBe('by hand');
    await expect(run({ sha256: undefined as never, md5: 'ff' })).rejects.toThrow('expected MD5 ff…');
  });

  it.each<[string, () => void, string]>([
    ['a web page', () => { behaviour = (_, response) => void response.writeHead(200, { 'content-type': 'text/html; charset=utf-8' }).end('<html>'); }, 'a web page instead of the file'],
    ['an error', () => { behaviour = (_, response) => void response.writeHead(403).end(); }, 'answered 403'],
    ['nothing', () => { behaviour = (request) => void request.destroy(); }, 'by hand'],
  ])('says what to do when there is %s', async (_, prepare, message) => {
    prepare();
    await expect(run()).rejects.toThrow(message);
    await expect(run()).rejects.toThrow('download it by hand, put it at');
  }); // biome-ignore format: rows

  it('notes that there was no hash to check', async () => {
    serve();
    const events = await run({ sha256: undefined as never });
    expect(events).toContainEqual({ kind: 'note', message: expect.stringContaining('no hash is published') });
  });

  it('lists what there is, and knows near names', async () => {
    for await (const event of fetchFiles({ names: [], out })) expect(event).toMatchObject({ kind: 'result', result: { files: PUBLIC_FILES.map(({ name }) => ({ name, there: false })) } });
    await expect(fetchFiles({ names: ['maskgit-vqgam'], out }).next()).rejects.toThrow('did you mean maskgit-vqgan?');
  }); // biome-ignore format: long line
});

it('knows every file by one name and one place', () => {
  for (const key of ['name', 'file', 'url'] as const) expect(new Set(PUBLIC_FILES.map((item) => item[key])).size).toBe(PUBLIC_FILES.length);
  expect(PUBLIC_FILES.every(({ url, file }) => url.startsWith('https://') && !file.includes('..'))).toBe(true);
}); // biome-ignore format: long line
