// Small JSON values between ranks, as bytes through the group's own collectives.

import { fromBytes } from '../create.ts';
import { zeros } from '../generated/operations.ts';
import { keep } from '../scope.ts';
import type { Tensor } from '../tensor.ts';
import type { ProcessGroup } from './process-group.ts';

/** Resolves on every rank with rank `root`'s value; the others' argument is ignored. */
export async function broadcastObject<T>(group: ProcessGroup, value: T | undefined, root = 0): Promise<T> {
  const bytes = group.rank === root ? encode(value) : new Uint8Array();
  const length = await number(bytes.length, (tensor) => group.startBroadcast(tensor, root).finished());
  const all = keep(bytes.length > 0 ? fromBytes(bytes, [length], 'uint8') : zeros([length], { dtype: 'uint8' }));
  try {
    await group.startBroadcast(all, root).finished();
    return decode(all.toBytes());
  } finally {
    all.dispose();
  }
}

/** Resolves on every rank with the values of all, in rank order. */
export async function allGatherObject<T>(group: ProcessGroup, value: T): Promise<T[]> {
  const bytes = encode(value);
  const longest = await number(bytes.length, (tensor) => group.startAllReduce(tensor, { reduction: 'max' }).finished());
  // Padded with spaces, which JSON ignores.
  const padded = new Uint8Array(longest).fill(0x20);
  padded.set(bytes);
  const own = keep(fromBytes(padded, [longest], 'uint8'));
  let all: Tensor | undefined;
  try {
    const work = group.startAllGather(own);
    all = await work.finished();
    const flat = all.toBytes();
    return Array.from({ length: group.size }, (_, rank) =>
      decode<T>(flat.subarray(rank * longest, (rank + 1) * longest)),
    );
  } finally {
    own.dispose();
    all?.dispose();
  }
}

async function number(value: number, exchange: (tensor: Tensor) => Promise<Tensor>): Promise<number> {
  const tensor = keep(fromBytes(new BigInt64Array([BigInt(value)]), [1], 'int64'));
  try {
    await exchange(tensor);
    return tensor.item();
  } finally {
    tensor.dispose();
  }
}

function encode(value: unknown): Uint8Array {
  const text = JSON.stringify(value);
  if (text === undefined) throw new TypeError(`expected a value that JSON can hold, got ${typeof value}`);
  return new TextEncoder().encode(text);
}

function decode<T>(bytes: Uint8Array): T {
  return JSON.parse(new TextDecoder().decode(bytes)) as T;
}
