/** A worker thread has its own table of tensors, its own scopes and its own gradient mode. */

import { MessageChannel, type MessagePort, receiveMessageOnPort, Worker } from 'node:worker_threads';
import { afterEach, expect, test } from 'vitest';
import {
  full,
  getNumThreads,
  isGradEnabled,
  memoryStats,
  noGrad,
  ones,
  scope,
  setNumThreads,
  TensorError,
  zeros,
} from './index.ts';

// Answers commands one at a time; the built package, since a worker cannot load TypeScript.
const PROGRAM = `
  const { workerData } = require('node:worker_threads');
  import(workerData.url).then((T) => {
    const { port, flag } = workerData;
    const held = [];
    const commands = {
      hold: (count) => { for (let k = 0; k < count; k++) held.push(T.ones([4])); },
      free: () => { for (const x of held.splice(0)) x.dispose(); },
      scope: () => T.scope(() => { T.ones([8]).add(1); }),
      use: (handle) => { try { return new T.Tensor(handle).toNumbers(); } catch (error) { return error.code; } },
      grad: () => T.isGradEnabled(),
      threads: (count) => { if (count !== undefined) T.setNumThreads(count); return T.getNumThreads(); },
      make: (value) => { held.push(T.full([2], value)); return held.at(-1).handle; },
      fail: () => { try { T.ones([2]).matmul(T.ones([3])); } catch (error) { return error.message.slice(0, 8); } },
    };
    port.on('message', ([name, ...args]) => {
      const value = commands[name](...args);
      port.postMessage({ value, live: T.memoryStats().liveTensors });
      Atomics.store(flag, 0, 1);
      Atomics.notify(flag, 0);
    });
  });
`;

const workers: Worker[] = [];
afterEach(async () => {
  for (const worker of workers.splice(0)) await worker.terminate();
});

/** A worker whose commands are answered while this thread waits, so also inside a scope. */
function start(): (name: string, ...args: unknown[]) => { value: unknown; live: number } {
  const { port1, port2 }: { port1: MessagePort; port2: MessagePort } = new MessageChannel();
  const flag = new Int32Array(new SharedArrayBuffer(4));
  const url = new URL('../dist/index.js', import.meta.url).href;
  workers.push(new Worker(PROGRAM, { eval: true, workerData: { url, port: port2, flag }, transferList: [port2] }));
  return (name, ...args) => {
    Atomics.store(flag, 0, 0);
    port1.postMessage([name, ...args]);
    expect(Atomics.wait(flag, 0, 0, 20_000)).not.toBe('timed-out');
    return receiveMessageOnPort(port1)!.message;
  };
}

test('tables, scopes and gradient mode of threads do not touch one another', () => {
  const ask = start();
  const before = memoryStats().liveTensors;
  const mine = zeros([2]);
  scope(() => {
    const inside = ones([3]);
    expect(ask('hold', 5)).toMatchObject({ live: 5 });
    expect(ask('scope')).toMatchObject({ live: 5 });
    expect(memoryStats().liveTensors).toBe(before + 2);
    expect(inside.toNumbers()).toEqual([1, 1, 1]);
    // The first handles have the same numbers in every thread, and mean each thread's own tensors.
    expect(ask('use', mine.handle).value).not.toEqual([0, 0]);
    noGrad(() => expect(ask('grad').value).toBe(true));
  });
  expect(ask('free')).toMatchObject({ live: 0 });
  expect(ask('use', mine.handle).value).toBe('DISPOSED');
  expect(ask('fail').value).toBe('matmul: ');
  expect(mine.toNumbers()).toEqual([0, 0]);
  expect(isGradEnabled()).toBe(true);
  mine.dispose();
});

test('a worker that ends with live tensors and open scopes takes them with it', async () => {
  const [first, second] = [start(), start()];
  first('hold', 100);
  expect(second('hold', 3)).toMatchObject({ live: 3 });
  await workers[0]!.terminate();
  expect(second('scope')).toMatchObject({ live: 3 });
  expect(() => ones([2]).matmul(ones([3]))).toThrow(TensorError);
});

test('two workers at once: the same number names each its own tensor, and stays stale where it was freed', () => {
  const [first, second] = [start(), start()];
  const handles = [first('make', 1).value, second('make', 2).value] as number[];
  expect(handles[0]).toBe(handles[1]);
  expect(first('use', handles[0])).toMatchObject({ value: [1, 1], live: 1 });
  expect(second('use', handles[0])).toMatchObject({ value: [2, 2], live: 1 });
  first('free');
  expect(first('use', handles[0]).value).toBe('DISPOSED');
  expect(second('use', handles[0]).value).toEqual([2, 2]);
  // A new tensor takes the slot, not the number; and what is freed there is freed there only.
  const fresh = first('make', 3).value;
  expect(fresh).not.toBe(handles[0]);
  expect(first('use', handles[0]).value).toBe('DISPOSED');
  expect(second('use', fresh).value).toBe('DISPOSED');
  const mine = full([2], 4);
  second('free');
  expect(first('use', fresh).value).toEqual([3, 3]);
  expect(mine.toNumbers()).toEqual([4, 4]);
  mine.dispose();
});

test('setNumThreads holds on every thread, running or started later', () => {
  const before = getNumThreads();
  const running = start();
  try {
    running('scope');
    setNumThreads(3);
    expect(running('threads').value).toBe(3);
    expect(start()('threads').value).toBe(3);
    running('threads', 2); // and a worker sets it for all
    running('scope');
    expect(getNumThreads()).toBe(2);
  } finally {
    setNumThreads(before);
  }
  expect(running('threads').value).toBe(before);
});
