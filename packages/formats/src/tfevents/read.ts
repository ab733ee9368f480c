/**
 * Reads event files back: to check what was written, and to find where a file torn by a crash is still whole.
 *
 * A run that is resumed cuts its event file to `intactLength` and goes on appending. Only scalars and images
 * are decoded; other values come with their tag alone.
 */
import { type ByteReader, dataViewOf } from '../byte-reader.ts';
import { FormatError } from '../format-error.ts';
import { parseFields } from '../protobuf.ts';
import { type EventImage, maskedCrc } from './write.ts';

export interface TfEvent {
  /** Seconds since 1970. */
  readonly wallTime: number;
  readonly step: number;
  /** Only in the first event of a file. */
  readonly fileVersion?: string;
  readonly values: readonly TfValue[];
}

export interface TfValue {
  readonly tag: string;
  readonly scalar?: number;
  readonly image?: EventImage;
}

/** All events; throws at the first damaged or torn record. */
export function readEvents(reader: ByteReader): TfEvent[] {
  const events: TfEvent[] = [];
  for (let at = 0; at < reader.byteLength; ) {
    const data = readRecord(reader, at);
    events.push(parseEvent(data, fieldFailure(reader, at)));
    at += data.byteLength + 16;
  }
  return events;
}

/** How many bytes from the start are whole records with valid checksums. */
export function intactLength(reader: ByteReader): number {
  let at = 0;
  while (at < reader.byteLength) {
    try {
      at += readRecord(reader, at).byteLength + 16;
    } catch (error) {
      if (error instanceof FormatError && error.code.startsWith('tfevents.')) return at;
      throw error;
    }
  }
  return at;
}

function readRecord(reader: ByteReader, at: number): Uint8Array {
  const fail = (rule: string, message: string): never => {
    throw new FormatError(`tfevents.${rule}`, message, { file: reader.name, offset: at });
  };
  const left = reader.byteLength - at;
  if (left < 16) fail('truncated', `the file ends after ${left} bytes of a record`);
  const start = reader.read(at, 12);
  const view = dataViewOf(start);
  if (view.getUint32(8, true) !== maskedCrc(start.subarray(0, 8)))
    fail('length-crc', 'the length of a record is damaged');
  const length = view.getBigUint64(0, true);
  if (length > BigInt(left - 16)) fail('truncated', `a record of ${length} bytes, but only ${left - 16} follow`);
  const data = reader.read(at + 12, Number(length));
  const stored = dataViewOf(reader.read(at + 12 + data.byteLength, 4)).getUint32(0, true);
  if (stored !== maskedCrc(data)) fail('data-crc', 'the data of a record is damaged');
  return data;
}

type Fail = (message: string) => never;

function fieldFailure(reader: ByteReader, at: number): Fail {
  return (message) => {
    throw new FormatError('tfevents.message', message, { file: reader.name, offset: at + 12 });
  };
}

function parseEvent(data: Uint8Array, fail: Fail): TfEvent {
  const event: { -readonly [K in keyof TfEvent]: TfEvent[K] } = { wallTime: 0, step: 0, values: [] };
  for (const field of parseFields(data, fail)) {
    if (field.field === 1 && field.wire === 'fixed64') event.wallTime = dataViewOf(field.bytes).getFloat64(0, true);
    if (field.field === 2 && field.wire === 'varint') event.step = Number(BigInt.asIntN(64, field.value));
    if (field.field === 3 && field.wire === 'delimited') event.fileVersion = decode(field.bytes, fail);
    if (field.field === 5 && field.wire === 'delimited') event.values = parseSummary(field.bytes, fail);
  }
  return event;
}

function parseSummary(data: Uint8Array, fail: Fail): TfValue[] {
  const values: TfValue[] = [];
  for (const field of parseFields(data, fail)) {
    if (field.field === 1 && field.wire === 'delimited') values.push(parseValue(field.bytes, fail));
  }
  return values;
}

function parseValue(data: Uint8Array, fail: Fail): TfValue {
  const value: { -readonly [K in keyof TfValue]: TfValue[K] } = { tag: '' };
  for (const field of parseFields(data, fail)) {
    if (field.field === 1 && field.wire === 'delimited') value.tag = decode(field.bytes, fail);
    if (field.field === 2 && field.wire === 'fixed32') value.scalar = dataViewOf(field.bytes).getFloat32(0, true);
    if (field.field === 4 && field.wire === 'delimited') value.image = parseImage(field.bytes, fail);
  }
  return value;
}

function parseImage(data: Uint8Array, fail: Fail): EventImage {
  const image = { width: 0, height: 0, png: new Uint8Array(0) as Uint8Array };
  for (const field of parseFields(data, fail)) {
    if (field.field === 1 && field.wire === 'varint') image.height = Number(field.value);
    if (field.field === 2 && field.wire === 'varint') image.width = Number(field.value);
    if (field.field === 4 && field.wire === 'delimited') image.png = field.bytes;
  }
  return image;
}

function decode(bytes: Uint8Array, fail: Fail): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    return fail('a text is not valid UTF-8');
  }
}
