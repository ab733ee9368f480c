/** Typed arrays over a tensor's own memory: they share it both ways and never outlive it. */

import { MessageChannel, Worker } from 'node:worker_threads';
import { expect, test } from 'vitest';
import { arange, fromTypedArray, keep, ones, scope, tensor, zeros } from './index.ts';

test('a view shares the memory both ways, in the dtype of the tensor', () => {
  scope(() => {
    const x = tensor([[1, 2], [3, 4]]); // biome-ignore format: the matrix
    const view = x.asTypedArray() as Float32Array;
    expect(view).toBeInstanceOf(Float32Array);
    expect([...view]).toEqual([1, 2, 3, 4]);
    view[3] = 9;
    x.mul_(2);
    expect([...view]).toEqual([2, 4, 6, 18]);
    expect(x.toNumbers()).toEqual([2, 4, 6, 18]);
    expect(x.asTypedArray().buffer).toBe(view.buffer);
    // A contiguous part: its own buffer, from its first entry on.
    expect([...(x.select(0, 1).asTypedArray() as Float32Array)]).toEqual([6, 18]);
    expect(arange(0, 3).asTypedArray()).toEqual(new BigInt64Array([0n, 1n, 2n]));
    expect(tensor([1, 0], 'bool').asTypedArray()).toEqual(new Uint8Array([1, 0]));
    expect(zeros([0, 3]).asTypedArray().length).toBe(0);
  });
});

test('a view is detached when its tensor is freed', () => {
  const kept = keep(scope(() => ones([4])));
  const outer = kept.asTypedArray();
  const [inner, other] = scope(() => {
    const x = ones([1000]);
    const same = x.view([10, 100]);
    const views = [x.asTypedArray(), same.asTypedArray()] as const;
    x.dispose(); // the memory lives on in `same`, but the view was one of x
    expect(views[0].length).toBe(0);
    expect(views[1].length).toBe(1000);
    expect(views[1][999]).toBe(1);
    return views;
  });
  expect([inner.length, other.length, other[0], other.buffer.byteLength]).toEqual([0, 0, undefined, 0]);
  expect([...outer]).toEqual([1, 1, 1, 1]);
  kept.dispose();
  expect(outer.length).toBe(0);
  outer[0] = 5; // writes nowhere
});

test('what leaves a scope keeps its view', () => {
  const [x, view] = scope(() => {
    const made = ones([3]);
    return [made, made.asTypedArray()];
  });
  expect([...view]).toEqual([1, 1, 1]);
  x.dispose();
  expect(view.length).toBe(0);
});

test('views hold no memory of tensors that are gone', async () => {
  const before = process.memoryUsage().rss;
  for (let k = 0; k < 1000; k++) {
    scope(() => {
      const view = zeros([2 ** 18]).asTypedArray();
      view[0] = k;
    });
    // Node's records of the views, and with them the gaps between tensors, go when the event loop turns.
    if (k % 20 === 0) await new Promise(setImmediate);
  }
  expect((process.memoryUsage().rss - before) / 2 ** 20).toBeLessThan(128); // of 1000 MB
});

test('a view is not given to another thread, where it would outlive its tensor', () => {
  scope(() => {
    const { buffer } = ones([4]).asTypedArray();
    const { port1, port2 } = new MessageChannel();
    try {
      port1.postMessage(buffer, [buffer as ArrayBuffer]); // refused, or, in Node 20, copied
    } catch (error) {
      expect((error as Error).name).toBe('DataCloneError');
    }
    expect(buffer.byteLength).toBe(16);
    port1.close();
    port2.close();
  });
});

test('a worker that ends with live views takes them with it', async () => {
  const url = new URL('../dist/index.js', import.meta.url).href;
  const program = `import(${JSON.stringify(url)}).then((T) => { globalThis.view = T.ones([4]).asTypedArray(); process.exit(7); })`;
  const worker = new Worker(program, { eval: true });
  expect(await new Promise((resolve) => worker.once('exit', resolve))).toBe(7);
});

test('only the memory of a contiguous tensor can be viewed', () => {
  scope(() => {
    const x = ones([2, 3]);
    expect(() => x.t().asTypedArray()).toThrow(
      /^asTypedArray: expected values that lie in C order, .*\(float32 \[3, 2\]\)$/,
    );
    expect(x.t().contiguous().asTypedArray().length).toBe(6);
    x.dispose();
    expect(() => x.asTypedArray()).toThrow(/disposed/);
  });
});

test('toArray nests as the shape does', () => {
  scope(() => {
    const values = [[[1, 2, 3], [4, 5, 6]]]; // biome-ignore format: the array
    expect(tensor(values, 'int64').toArray()).toEqual(values);
    expect(tensor(values).permute([2, 1, 0]).toArray()).toEqual([[[1], [4]], [[2], [5]], [[3], [6]]]); // biome-ignore format: the array
    expect(tensor(7).toArray()).toBe(7);
    expect(zeros([2, 0]).toArray()).toEqual([[], []]);
    expect(zeros([0, 2]).toArray()).toEqual([]);
    expect(
      fromTypedArray(new Float32Array([1, 2]))
        .to('bfloat16')
        .toArray(),
    ).toEqual([1, 2]);
  });
});
