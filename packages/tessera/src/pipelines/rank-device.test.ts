import { expect, test } from 'vitest';
import { rankDevice } from './rank-device.ts';

test('each process of a machine has a GPU of its own', () => {
  expect([0, 1, 7].map((rank) => rankDevice('cuda', 8, { LOCAL_RANK: `${rank}`, RANK: '9' }))).toEqual([
    'cuda:0',
    'cuda:1',
    'cuda:7',
  ]);
  expect(rankDevice('cuda', 8, {})).toBe('cuda:0');
  // The launcher shows each process one: it is the first one there.
  expect(rankDevice('cuda', 1, { LOCAL_RANK: '3', CUDA_VISIBLE_DEVICES: '3' })).toBe('cuda:0');
  expect(rankDevice('cpu', 8, { LOCAL_RANK: '3' })).toBe('cpu');
});

test('says what is missing', () => {
  expect(() => rankDevice('cuda', 0, {})).toThrow('expected a GPU, and a libtorch with CUDA');
  expect(() => rankDevice('cuda', 2, { LOCAL_RANK: '2' })).toThrow(
    'got 2 for process 2 (LOCAL_RANK): start at most 2 here (--nproc-per-node 2)',
  );
  expect(() => rankDevice('cuda', 1, { LOCAL_RANK: '1' })).toThrow('got 1 for process 1');
  for (const text of ['-1', 'one', '1.5', '']) {
    expect(() => rankDevice('cuda', 2, { LOCAL_RANK: text })).toThrow('Expected a whole number as LOCAL_RANK');
  }
});
