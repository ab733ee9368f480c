/** Recorded graphs run by onnxruntime-web, in WebAssembly under Node, and compared with the code that they were made of. */

import { encodeOnnx, type OnnxModel } from '@tessera/formats';
import * as ort from 'onnxruntime-web';
import { expect } from 'vitest';
import { noGrad } from '../autograd.ts';
import type { TypedArray } from '../dtype.ts';
import { scope } from '../scope.ts';
import type { Sizes } from './affine.ts';
import { type Recording, recordOnnx } from './record-onnx.ts';
import type { NamedTensors } from './trace.ts';

ort.env.wasm.numThreads = 1;
ort.env.logLevel = 'error';

export interface Plain {
  dtype: string;
  shape: readonly number[];
  values: number[];
}

/** Runs a graph on tensors; its outputs as plain numbers. */
export async function runOnnx(
  model: OnnxModel,
  inputs: Record<string, [TypedArray, string, number[]]>,
): Promise<Record<string, Plain>> {
  const session = await ort.InferenceSession.create(encodeOnnx(model), { executionProviders: ['wasm'] });
  try {
    const feeds = Object.entries(inputs).map(([name, [data, dtype, shape]]) => [
      name,
      new ort.Tensor(dtype as 'float32', data as Float32Array, shape),
    ]);
    const results = await session.run(Object.fromEntries(feeds));
    return Object.fromEntries(
      Object.entries(results).map(([name, { type, dims, data }]) => [
        name,
        { dtype: type, shape: dims, values: Array.from(data as ArrayLike<number>, Number) },
      ]),
    );
  } finally {
    await session.release();
  }
}

/** Records, runs the graph at sizes that were no probe, and compares with the code itself at those sizes. */
export async function expectSameInOnnxruntime(
  recording: Recording,
  sizes: Sizes,
  tolerance = 1e-5,
): Promise<OnnxModel> {
  const model = recordOnnx(recording);
  const [inputs, expected] = noGrad(() =>
    scope(() => {
      const made = recording.inputs(sizes);
      return [plainInputs(made), plain(recording.run(made, sizes))];
    }),
  );
  const got = await runOnnx(model, inputs);
  expect(Object.keys(got)).toEqual(Object.keys(expected));
  for (const [name, { dtype, shape, values }] of Object.entries(expected)) {
    expect({ name, dtype: got[name]!.dtype, shape: got[name]!.shape }).toEqual({ name, dtype, shape });
    const worst = values.reduce((most, value, i) => Math.max(most, difference(value, got[name]!.values[i]!)), 0);
    expect(worst, `largest difference of ${name}`).toBeLessThanOrEqual(tolerance);
  }
  return model;
}

/** Relative for large values; infinities and NaN are equal to themselves only. */
function difference(a: number, b: number): number {
  if (Object.is(a, b) || a === b) return 0;
  const distance = Math.abs(a - b) / Math.max(1, Math.abs(a));
  return Number.isNaN(distance) ? Number.POSITIVE_INFINITY : distance;
}

function plainInputs(tensors: NamedTensors): Record<string, [TypedArray, string, number[]]> {
  return Object.fromEntries(
    Object.entries(tensors).map(([name, tensor]) => [name, [tensor.toTypedArray(), tensor.dtype, tensor.shape]]),
  );
}

function plain(tensors: NamedTensors): Record<string, Plain> {
  return Object.fromEntries(
    Object.entries(tensors).map(([name, tensor]) => [
      name,
      { dtype: tensor.dtype, shape: tensor.shape, values: tensor.toNumbers() },
    ]),
  );
}
