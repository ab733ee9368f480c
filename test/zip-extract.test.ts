import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { SetupFailure } from '../packages/torch/setup/setup-failure.mjs';
import { crc32, extractZip, listZip } from '../packages/torch/setup/zip-extract.mjs';
import { makeZip, type ZipEntry } from './make-zip.ts';

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tessera zip '));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

async function extract(bytes: Uint8Array, select = (name: string): string | undefined => name) {
  const archive = join(folder, 'an archive.zip');
  writeFileSync(archive, bytes);
  return extractZip(archive, join(folder, 'out', 'deep'), select);
}

const read = (path: string) => readFileSync(join(folder, 'out', 'deep', path));

async function failure(bytes: Uint8Array): Promise<SetupFailure> {
  const error = await extract(bytes).then(
    () => undefined,
    (reason) => reason,
  );
  expect(error).toBeInstanceOf(SetupFailure);
  return error;
}

const small: ZipEntry[] = [
  { name: 'a/b.txt', data: Buffer.from('hello hello hello') },
  { name: 'a/', data: Buffer.alloc(0), deflate: false },
  { name: 'stored', data: Buffer.from('as it is'), deflate: false },
  { name: 'empty', data: Buffer.alloc(0) },
];

describe('extractZip', () => {
  it('unpacks stored, deflated and empty entries', async () => {
    expect(await extract(makeZip(small))).toEqual({ files: 3, bytes: 25 });
    expect(read('a/b.txt').toString()).toBe('hello hello hello');
    expect(read('stored').toString()).toBe('as it is');
    expect(read('empty')).toHaveLength(0);
    expect(listZip(join(folder, 'an archive.zip'))).toEqual(['a/b.txt', 'a/', 'stored', 'empty']);
  });

  it('unpacks a large entry as a stream', async () => {
    const data = Buffer.alloc(9_000_001);
    for (let i = 0; i < data.length; i += 4096)
      data.writeUInt32LE(Math.imul(i, 2654435761) >>> 0, Math.min(i, data.length - 4));
    await extract(makeZip([{ name: 'large', data }]));
    expect(read('large').equals(data)).toBe(true);
  });

  it('takes only what is selected, under the name given', async () => {
    await extract(makeZip(small), (name) => (name === 'stored' ? 'x/y' : undefined));
    expect(readdirSync(join(folder, 'out', 'deep'))).toEqual(['x']);
    expect(read('x/y').toString()).toBe('as it is');
  });

  it('reads zip64 sizes and offsets', async () => {
    await extract(makeZip(small.map((entry) => ({ ...entry, zip64: true }))));
    expect(read('a/b.txt').toString()).toBe('hello hello hello');
    expect(read('stored').toString()).toBe('as it is');
  });

  it.each(['../out', '/absolute', 'a/../../out', 'a\\..\\out', 'C:/out', 'a//b', './a', 'nul\0'])(
    'refuses the path %j',
    async (name) => {
      expect((await failure(makeZip([{ name, data: Buffer.from('x') }]))).code).toBe('ZIP_UNSAFE_PATH');
      expect(existsSync(join(folder, 'out', 'out'))).toBe(false);
    },
  );

  it('refuses links and entries that occur twice', async () => {
    const data = Buffer.from('target');
    expect((await failure(makeZip([{ name: 'link', data, mode: 0o120777 }]))).code).toBe('ZIP_UNSAFE_PATH');
    expect(
      (
        await failure(
          makeZip([
            { name: 'a', data },
            { name: 'a', data },
          ]),
        )
      ).message,
    ).toContain('twice');
  });

  it.each([true, false])('notices a wrong CRC (deflated: %s)', async (deflate) => {
    const error = await failure(makeZip([{ name: 'a', data: Buffer.from('hello'), deflate, declared: { crc: 1 } }]));
    expect(error.code).toBe('ARCHIVE_CORRUPT');
    expect(error.message).toMatch(/an archive\.zip is damaged: a fails its CRC/);
  });

  it.each([3, 7, 6_000_000])('notices a declared size of %i instead of 5', async (size) => {
    const error = await failure(makeZip([{ name: 'a', data: Buffer.from('hello'), declared: { size } }]));
    expect(error.code).toBe('ARCHIVE_CORRUPT');
  });

  it('stops a bomb at its declared size', async () => {
    const error = await failure(
      makeZip([{ name: 'a', data: Buffer.alloc(20_000_000), declared: { size: 5_000_000 } }]),
    );
    expect(error.message).toContain('longer than');
    expect(read('a').length).toBeLessThanOrEqual(5_000_000);
  });

  it.each([1e6, 0xfffffffe])('notices an offset of %i', async (offset) => {
    const error = await failure(makeZip([{ name: 'a', data: Buffer.from('hello'), declared: { offset } }]));
    expect(error.message).toContain('not where the directory says');
  });

  it('notices truncation at every byte', async () => {
    const whole = makeZip(small);
    for (let length = 0; length < whole.length; length++) {
      expect((await failure(whole.subarray(0, length))).code).toBe('ARCHIVE_CORRUPT');
      rmSync(join(folder, 'out'), { recursive: true, force: true });
    }
  });

  it('never fails otherwise when any byte is flipped', async () => {
    const whole = makeZip(small.map((entry, i) => ({ ...entry, zip64: i === 0 })));
    for (let at = 0; at < whole.length; at++) {
      const bytes = Buffer.from(whole);
      bytes[at] = bytes[at]! ^ 0xff;
      await extract(bytes).catch((error) => expect(error, `byte ${at}`).toBeInstanceOf(SetupFailure));
      rmSync(join(folder, 'out'), { recursive: true, force: true });
    }
  });
});

it('crc32 gives the check value of its definition', () => {
  expect(crc32(Buffer.from('123456789'))).toBe(0xcbf43926);
});
