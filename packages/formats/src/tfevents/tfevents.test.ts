import { mkdirSync, writeFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { bytesReader, concatBytes } from '../byte-reader.ts';
import { codeOf, expectDamageSurvived, expectTruncationsRefused } from '../hostile.test-support.ts';
import { withPython } from '../python.test-support.ts';
import { intactLength, readEvents } from './read.ts';
import { encodeFileVersionEvent, encodeImageEvent, encodeScalarEvent, maskedCrc } from './write.ts';

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');
const read = (bytes: Uint8Array) => readEvents(bytesReader(bytes, 'events'));

test('exact bytes of a version event', () => {
  const length = '1800000000000000';
  const data = `09000000000000f83f1a0d${Buffer.from('brain.Event:2').toString('hex')}`;
  const crc = (text: string) => {
    const out = Buffer.alloc(4);
    out.writeUInt32LE(maskedCrc(Buffer.from(text, 'hex')));
    return out.toString('hex');
  };
  expect(hex(encodeFileVersionEvent(1.5))).toBe(length + crc(length) + data + crc(data));
  // Start of every TensorBoard file of this version: length 24 and its masked CRC, as TensorFlow writes it.
  expect(hex(encodeFileVersionEvent(0)).slice(0, 24)).toBe('1800000000000000a37f4b22');
});

test('what is written is read back', () => {
  const scalar = fc.record({
    step: fc.integer({ min: -5, max: Number.MAX_SAFE_INTEGER }),
    wallTime: fc.double({ noNaN: true }),
    tag: fc.string({ unit: 'grapheme' }),
    scalar: fc.float(),
  });
  fc.assert(
    fc.property(fc.array(scalar, { maxLength: 5 }), (list) => {
      const bytes = concatBytes(list.map((item) => encodeScalarEvent(item.step, item.wallTime, item.tag, item.scalar)));
      const events = list.map(({ step, wallTime, tag, scalar }) => ({ step, wallTime, values: [{ tag, scalar }] }));
      expect(read(bytes)).toEqual(events);
      expect(intactLength(bytesReader(bytes))).toBe(bytes.byteLength);
    }),
  );
  const png = Uint8Array.of(1, 2, 3);
  expect(read(encodeImageEvent(3, 2, 'grid', { width: 20, height: 10, png }))).toEqual([
    { step: 3, wallTime: 2, values: [{ tag: 'grid', image: { width: 20, height: 10, png } }] },
  ]);
});

describe('torn and damaged files', () => {
  const records = [
    encodeFileVersionEvent(1),
    encodeScalarEvent(1, 2, 'loss', 0.5),
    encodeImageEvent(2, 3, 'grid', { width: 1, height: 1, png: new Uint8Array(40) }),
  ];
  const bytes = concatBytes(records);
  const ends = [0, 40, 40 + records[1]!.byteLength];

  test('cut at any byte: refused, and the whole records counted', () => {
    expectTruncationsRefused(bytes, read, ends);
    for (let length = 0; length < bytes.byteLength; length++) {
      const last = ends.filter((end) => end <= length).at(-1);
      expect(intactLength(bytesReader(bytes.slice(0, length)))).toBe(last);
    }
  });

  test('damaged at random: read or refused', () => {
    expectDamageSurvived(bytes, read, 1500);
    expectDamageSurvived(bytes, (damaged) => intactLength(bytesReader(damaged)), 300);
  });

  test('damaged messages with valid checksums: read or refused', () => {
    const data = bytes.slice(12, 36);
    expectDamageSurvived(data, (damaged) => {
      const length = new Uint8Array(BigUint64Array.of(BigInt(damaged.byteLength)).buffer);
      const crc = (part: Uint8Array) => new Uint8Array(Uint32Array.of(maskedCrc(part)).buffer);
      return read(concatBytes([length, crc(length), damaged, crc(damaged)]));
    });
  });

  test.each([
    ['length-crc', 0],
    ['length-crc', 9],
    ['data-crc', 14],
    ['data-crc', 38],
  ])('%s: byte %i', (rule, at) => {
    const damaged = bytes.slice();
    damaged[at]! ^= 4;
    expect(codeOf(() => read(damaged))).toBe(`tfevents.${rule}`);
    expect(intactLength(bytesReader(damaged))).toBe(0);
  });
});

test("TensorBoard's own loader reads our files", () => {
  withPython(['tensorboard'], (python) => {
    mkdirSync(python.path('run'));
    const png = Uint8Array.of(0x89, 0x50, 0x4e, 0x47);
    writeFileSync(
      python.path('run/events.out.tfevents.1.x'),
      concatBytes([
        encodeFileVersionEvent(1),
        encodeScalarEvent(1, 10.5, 'loss', 0.25),
        encodeScalarEvent(2, 11, 'loss', -3),
        encodeImageEvent(2, 12, 'grid', { width: 4, height: 2, png }),
      ]),
    );
    const printed = python.run(`
import json
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
events = EventAccumulator('run', {'scalars': 0, 'images': 0, 'tensors': 0})
events.Reload()
print(json.dumps([[[e.wall_time, e.step, e.value] for e in events.Scalars('loss')],
                  [[e.step, e.width, e.height, e.encoded_image_string.hex()] for e in events.Images('grid')]]))
`);
    expect(JSON.parse(printed.trim().split('\n').at(-1)!)).toEqual([[[10.5, 1, 0.25], [11, 2, -3]], [[2, 4, 2, '89504e47']]]); // biome-ignore format: pairs
  });
});
