import { readFileSync, writeFileSync } from 'node:fs';
import { type DType, fromBytes, type Tensor } from '@tessera/torch';

const NAMES: Record<string, string> = { float32: 'F32', float64: 'F64', int64: 'I64' };

export function saveSafetensors(
  path: string,
  tensors: Iterable<[string, Tensor]>,
  metadata?: Record<string, string>,
): void {
  const header: Record<string, unknown> = metadata === undefined ? {} : { __metadata__: metadata };
  const parts: Uint8Array[] = [];
  let offset = 0;
  for (const [name, tensor] of tensors) {
    const bytes = tensor.toBytes();
    header[name] = { dtype: NAMES[tensor.dtype], shape: tensor.shape, data_offsets: [offset, offset + bytes.length] };
    parts.push(bytes);
    offset += bytes.length;
  }
  let text = JSON.stringify(header);
  while (Buffer.byteLength(text) % 8 !== 0) text += ' ';
  const head = Buffer.alloc(8);
  head.writeBigUInt64LE(BigInt(Buffer.byteLength(text)));
  writeFileSync(path, Buffer.concat([head, Buffer.from(text), ...parts]));
}

export function loadSafetensors(path: string): { tensors: Map<string, Tensor>; metadata: Record<string, string> } {
  const bytes = readFileSync(path);
  const length = Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.subarray(8, 8 + length).toString());
  const tensors = new Map<string, Tensor>();
  for (const [name, entry] of Object.entries<{ dtype: string; shape: number[]; data_offsets: [number, number] }>(
    header,
  )) {
    if (name === '__metadata__') continue;
    const dtype = Object.keys(NAMES).find((key) => NAMES[key] === entry.dtype) as DType;
    const [begin, end] = entry.data_offsets;
    tensors.set(
      name,
      fromBytes(new Uint8Array(bytes.subarray(8 + length + begin, 8 + length + end)), entry.shape, dtype),
    );
  }
  return { tensors, metadata: header.__metadata__ ?? {} };
}

function crc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  }
  return (crc ^ 0xffffffff) >>> 0;
}

function masked(bytes: Uint8Array): Buffer {
  const crc = crc32c(bytes);
  const out = Buffer.alloc(4);
  out.writeUInt32LE((((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0);
  return out;
}

function record(payload: Buffer): Uint8Array {
  const head = Buffer.alloc(8);
  head.writeBigUInt64LE(BigInt(payload.length));
  return Buffer.concat([head, masked(head), payload, masked(payload)]);
}

function wall(seconds: number): Buffer {
  const out = Buffer.alloc(9);
  out[0] = 0x09;
  out.writeDoubleLE(seconds, 1);
  return out;
}

function varint(value: number): Buffer {
  const bytes: number[] = [];
  for (let rest = value; ; rest = Math.floor(rest / 128)) {
    if (rest < 128) return Buffer.from([...bytes, rest]);
    bytes.push((rest % 128) + 128);
  }
}

function field(number: number, payload: Buffer): Buffer {
  return Buffer.concat([Buffer.from([number * 8 + 2]), varint(payload.length), payload]);
}

export function encodeFileVersionEvent(seconds: number): Uint8Array {
  return record(Buffer.concat([wall(seconds), field(3, Buffer.from('brain.Event:2'))]));
}

export function encodeScalarEvent(seconds: number, step: number, tag: string, value: number): Uint8Array {
  const scalar = Buffer.alloc(5);
  scalar[0] = 0x15;
  scalar.writeFloatLE(value, 1);
  const summary = field(1, Buffer.concat([field(1, Buffer.from(tag)), scalar]));
  return record(Buffer.concat([wall(seconds), Buffer.from([0x10]), varint(step), field(5, summary)]));
}
