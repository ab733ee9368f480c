// The values of torch itself are the parity suite's (kinds bicubic-resize, pixel-to-uint8).
import { scope, tensor } from '@tessera/torch';
import { expect, test } from 'vitest';
import { resizeBicubic, toLevels } from './output-pixels.ts';

test('levels are cut off, not rounded', () => {
  scope(() => {
    // 127.5 · 0.1 + 128 = 140.75; -1 gives 0.5; 1 gives 255.5, beyond the top
    expect(toLevels(tensor([0.1, -1, 1, 0, -9])).toNumbers()).toEqual([140, 0, 255, 128, 0]);
  });
});

test('shrinking does not average over more than four pixels', () => {
  scope(() => {
    // To half the size each output lies between two inputs and takes four: -3/32, 19/32, 19/32, -3/32.
    const row = tensor([[[[0, 0, 0, 32, 0, 0, 0, 0]]]]);
    const small = resizeBicubic(row.expand([1, 3, 8, 8]).contiguous(), 4, 4);
    expect(small.select(1, 0).select(1, 1).toNumbers()).toEqual([0, 19, -3, 0]);
  });
});
