import { deflateSync } from 'fflate';
import { describe, expect, test } from 'vitest';
import { bytesReader, concatBytes } from '../byte-reader.ts';
import { codeOf } from '../hostile.test-support.ts';
import { inflate } from './inflate.ts';

const JOB = { wrapping: 'deflate', format: 'zip' } as const;

describe('inflate', () => {
  const content = Uint8Array.from({ length: 100_000 }, (_, i) => (i * i) % 251);
  const packed = deflateSync(content);

  test('ends with the stream', () => {
    expect(inflate(bytesReader(packed, 'x'), { ...JOB, size: content.length })).toEqual(content);
    expect(inflate(bytesReader(deflateSync(new Uint8Array(0)), 'x'), { ...JOB, size: 0 })).toEqual(new Uint8Array(0));
  });

  test('refuses a stream that ends before its size, whatever follows, at once', () => {
    const long = concatBytes([packed, new Uint8Array(64 << 20)]);
    expect(codeOf(() => inflate(bytesReader(long, 'x'), { ...JOB, size: content.length + 1 }))).toBe('zip.trailing');
    const dense = new Uint8Array(32 << 20); // a byte of it is a thousand of these
    expect(Buffer.compare(inflate(bytesReader(deflateSync(dense), 'x'), { ...JOB, size: dense.length }), dense)).toBe(
      0,
    );
  });

  test('refuses megabytes behind it at once, and takes a prefix of a longer one', () => {
    const long = concatBytes([packed, new Uint8Array(32 << 20)]);
    expect(codeOf(() => inflate(bytesReader(long, 'x'), { ...JOB, size: content.length }))).toBe('zip.trailing');
    expect(inflate(bytesReader(long, 'x'), { ...JOB, size: 10, prefix: true })).toEqual(content.slice(0, 10));
  });
});
