/**
 * TensorBoard event files, written record by record: a file is a version event followed by any others, so a
 * logger only ever appends.
 *
 * A record is length (8 bytes), masked CRC-32C of the length, data, masked CRC-32C of the data
 * (tensorflow/core/lib/io/record_writer.h); data is an `Event` message (tensorflow/core/util/event.proto).
 */
import { concatBytes, dataViewOf } from '../byte-reader.ts';
import { crc32c } from '../crc.ts';
import { delimitedField, doubleField, floatField, varintField } from '../protobuf.ts';

export interface EventImage {
  readonly width: number;
  readonly height: number;
  /** The encoded PNG file. */
  readonly png: Uint8Array;
}

/** RGB, as TensorBoard counts colour spaces. */
const RGB = 3;

/** The first record of every event file. `wallTime` in seconds since 1970. */
export function encodeFileVersionEvent(wallTime: number): Uint8Array {
  return record(concatBytes([doubleField(1, wallTime), delimitedField(3, 'brain.Event:2')]));
}

/** One point of the curve `tag`. `wallTime` in seconds since 1970; `value` is stored as float32. */
export function encodeScalarEvent(step: number, wallTime: number, tag: string, value: number): Uint8Array {
  return summaryEvent(step, wallTime, [delimitedField(1, tag), floatField(2, value)]);
}

/** One picture of the series `tag`. */
export function encodeImageEvent(step: number, wallTime: number, tag: string, image: EventImage): Uint8Array {
  const content = [
    varintField(1, image.height),
    varintField(2, image.width),
    varintField(3, RGB),
    delimitedField(4, image.png),
  ];
  return summaryEvent(step, wallTime, [delimitedField(1, tag), delimitedField(4, concatBytes(content))]);
}

/** TensorBoard rotates and shifts CRCs, so that a CRC over data that holds CRCs stays meaningful. */
export function maskedCrc(bytes: Uint8Array): number {
  const crc = crc32c(bytes);
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
}

function summaryEvent(step: number, wallTime: number, value: readonly Uint8Array[]): Uint8Array {
  const summary = delimitedField(1, concatBytes(value));
  return record(concatBytes([doubleField(1, wallTime), varintField(2, step), delimitedField(5, summary)]));
}

function record(data: Uint8Array): Uint8Array {
  const out = new Uint8Array(data.byteLength + 16);
  const view = dataViewOf(out);
  view.setBigUint64(0, BigInt(data.byteLength), true);
  view.setUint32(8, maskedCrc(out.subarray(0, 8)), true);
  out.set(data, 12);
  view.setUint32(12 + data.byteLength, maskedCrc(data), true);
  return out;
}
