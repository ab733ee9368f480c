/**
 * The little of the protocol buffer wire format that event files and ONNX models need: varints, fixed numbers,
 * length-delimited fields; readers skip unknown fields by their wire type.
 *
 * Format: https://protobuf.dev/programming-guides/encoding/
 */
import { concatBytes, dataViewOf } from './byte-reader.ts';

const VARINT = 0;
const FIXED64 = 1;
const DELIMITED = 2;
const FIXED32 = 5;

/** A whole number from -2^63 to 2^64 - 1; negative ones as 64-bit two's complement. */
export function varintField(field: number, value: number | bigint): Uint8Array {
  return concatBytes([varint(BigInt((field << 3) | VARINT)), varint(BigInt.asUintN(64, BigInt(value)))]);
}

export function doubleField(field: number, value: number): Uint8Array {
  const bytes = new Uint8Array(8);
  dataViewOf(bytes).setFloat64(0, value, true);
  return concatBytes([varint(BigInt((field << 3) | FIXED64)), bytes]);
}

export function floatField(field: number, value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  dataViewOf(bytes).setFloat32(0, value, true);
  return concatBytes([varint(BigInt((field << 3) | FIXED32)), bytes]);
}

/** A text (as UTF-8), bytes, or a message of joined fields. */
export function delimitedField(field: number, content: string | Uint8Array): Uint8Array {
  const bytes = typeof content === 'string' ? new TextEncoder().encode(content) : content;
  return concatBytes([varint(BigInt((field << 3) | DELIMITED)), varint(BigInt(bytes.byteLength)), bytes]);
}

/** A message given in pieces, whose large parts are not copied. */
export function delimitedPieces(field: number, pieces: readonly Uint8Array[]): Uint8Array[] {
  const length = pieces.reduce((sum, piece) => sum + piece.byteLength, 0);
  return [concatBytes([varint(BigInt((field << 3) | DELIMITED)), varint(BigInt(length))]), ...pieces];
}

/** One field of a message: the number fields decoded, the others as bytes. */
export type Field =
  | { readonly field: number; readonly wire: 'varint'; readonly value: bigint }
  | { readonly field: number; readonly wire: 'fixed64' | 'fixed32' | 'delimited'; readonly bytes: Uint8Array };

/** The fields of a message in order; `fail` throws where it is damaged. */
export function* parseFields(message: Uint8Array, fail: (message: string) => never): Generator<Field> {
  let at = 0;
  const readVarint = (): bigint => {
    const [value, next] = varintAt(message, at, fail);
    at = next;
    return value;
  };
  const take = (length: number): Uint8Array => {
    if (length > message.byteLength - at) fail('a field is longer than its message');
    at += length;
    return message.subarray(at - length, at);
  };
  while (at < message.byteLength) {
    const key = readVarint();
    const field = Number(key >> 3n);
    const wire = Number(key & 7n);
    if (wire === VARINT) yield { field, wire: 'varint', value: readVarint() };
    else if (wire === FIXED64) yield { field, wire: 'fixed64', bytes: take(8) };
    else if (wire === FIXED32) yield { field, wire: 'fixed32', bytes: take(4) };
    else if (wire === DELIMITED) yield { field, wire: 'delimited', bytes: take(Number(readVarint())) };
    else fail(`wire type ${wire} is not used in these files`);
  }
}

/** The numbers of a packed repeated field. */
export function parsePackedVarints(bytes: Uint8Array, fail: (message: string) => never): bigint[] {
  const values: bigint[] = [];
  for (let at = 0; at < bytes.byteLength; ) {
    const [value, next] = varintAt(bytes, at, fail);
    values.push(value);
    at = next;
  }
  return values;
}

function varintAt(bytes: Uint8Array, start: number, fail: (message: string) => never): [value: bigint, next: number] {
  let value = 0n;
  let at = start;
  for (let shift = 0n; shift < 70n; shift += 7n) {
    const byte = bytes[at++];
    if (byte === undefined) fail('the message ends inside a number');
    value |= BigInt(byte! & 0x7f) << shift;
    if (byte! < 0x80) return [BigInt.asUintN(64, value), at];
  }
  return fail('a number is longer than 10 bytes');
}

function varint(value: bigint): Uint8Array {
  const bytes: number[] = [];
  let rest = value;
  while (rest >= 0x80n) {
    bytes.push(Number(rest & 0x7fn) | 0x80);
    rest >>= 7n;
  }
  bytes.push(Number(rest));
  return Uint8Array.from(bytes);
}
