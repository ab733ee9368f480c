/** Recording with a native side that only notes its calls: in which order they come, and what a failure leaves. */

import { beforeEach, expect, it, vi } from 'vitest';
import { CudaGraph } from './graph.ts';

const calls: string[] = [];
let failing: string | undefined;
let opened = 0;
const note = (name: string): void => {
  calls.push(name);
  if (name === failing) throw new Error(`${name} failed`);
};

vi.mock('./require-cuda.ts', () => ({
  requireCuda: () => ({
    graphOpen: () => ++opened,
    graphBegin: (graph: number, poolOf?: number) =>
      note(`begin ${graph}${poolOf === undefined ? '' : ` in ${poolOf}`}`),
    graphEnd: (graph: number) => note(`end ${graph}`),
    graphClose: (graph: number) => note(`close ${graph}`),
  }),
}));
vi.mock('./device.ts', () => ({ currentDevice: () => 0, cudaSynchronize: () => {} }));
vi.mock('./stream.ts', () => ({
  CudaStream: class {
    constructor() {
      note('stream');
    }
    run<T>(body: () => T): T {
      return body();
    }
  },
}));

beforeEach(() => {
  calls.length = 0;
  failing = undefined;
  opened = 0;
});

it('warms up, records once, and takes one stream for all recordings and another graph’s memory where asked to', () => {
  const first = CudaGraph.capture(() => note('body'), { warmUps: 2 });
  CudaGraph.capture(() => note('body'), { warmUps: 0, memoryOf: first });
  expect(calls).toEqual(['stream', 'body', 'body', 'begin 1', 'body', 'end 1', 'begin 2 in 1', 'body', 'end 2']);
});

it('what failed in the body is what is thrown, also where ending the recording fails because of it', () => {
  const body = (): never => {
    throw new Error('the cause');
  };
  failing = 'end 1';
  expect(() => CudaGraph.capture(body, { warmUps: 0 })).toThrow('the cause');
  expect(calls).toEqual(['begin 1', 'end 1', 'close 1']);
});

it('a recording that cannot be ended is an error of its own', () => {
  failing = 'end 1';
  expect(() => CudaGraph.capture(() => 0, { warmUps: 0 })).toThrow('end 1 failed');
  expect(calls.at(-1)).toBe('close 1');
});
