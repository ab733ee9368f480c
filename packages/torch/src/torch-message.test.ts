import { expect, test } from 'vitest';
import { shortMessage } from './torch-message.ts';

test.each([
  ['plain text', 'size mismatch, got input (2)', 'mm', 'size mismatch, got input (2)'],
  [
    'C++ frames',
    'Target 9 is out of bounds.\nException raised from f at a.cpp:1\nframe #0: c10',
    'x',
    'Target 9 is out of bounds.',
  ],
  ['second paragraphs', 'first\n  half\n\nCPU: registered at a.cpp', 'x', 'first half'],
  ['its own name', 'einsum(): subscript j', 'einsum', 'subscript j'],
  ['its own dotted name', 'linalg.inv: singular', 'linalg_inv', 'singular'],
  ['another name', 'linalg.inv: singular', 'linalg_solve', 'linalg.inv: singular'],
  [
    'a backend',
    "Could not run 'aten::empty' with arguments from the 'CUDA' backend. This could be\n\nCPU: registered",
    'zeros',
    'this libtorch cannot run it on CUDA',
  ],
  [
    'memory',
    "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate 4398046511104 bytes. Error code 12",
    'zeros',
    'not enough memory for 4398046511104 bytes',
  ],
  [
    'a device',
    'Expected one of cpu, cuda, ipu device type at start of device string: nope',
    'zeros',
    'expected the device "cpu" or "cuda:N", got "nope"',
  ],
])('cuts %s', (_, message, operation, expected) => {
  expect(shortMessage(message, operation)).toBe(expected);
});
