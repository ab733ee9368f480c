import { describe, expect, it } from 'vitest';
import { printInspection } from './print-inspection.ts';

describe('printInspection', () => {
  it('lines up a table and makes names harmless', () => {
    const text = printInspection({
      kind: 'file',
      path: 'a.pt',
      format: 'PyTorch checkpoint',
      byteLength: 1234,
      tensors: [
        { name: 'w', dtype: 'float32', shape: [2, 300], byteLength: 2400 },
        { name: 'evil\u001b[2J\u202e', dtype: 'int8', shape: [], byteLength: 1 },
      ],
      values: [{ name: 'n'.repeat(200), value: '1\n2' }],
      moreValues: 12_000,
      metadata: { format: 'pt' },
      totals: { tensors: 3, elements: 601, byteLength: 2401 },
    });
    expect(text).toBe(`a.pt: PyTorch checkpoint, 1.23 kB

metadata
  format  pt

  w                    float32  [2, 300]  2.40 kB
  evil\\x1b[2J\\u{202e}  int8     []         1 byte

values
  ${'n'.repeat(120)}…  1\\x0a2
  … and 12,000 more

3 tensors (2 shown), 601 numbers, 2.40 kB
`);
  });
});
