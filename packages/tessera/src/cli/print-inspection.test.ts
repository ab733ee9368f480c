import { describe, expect, it } from 'vitest';
import { inspectPreset } from '../pipelines/inspect/inspect-preset.ts';
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

  it('shows what a GPT costs by patch side and in stages, as published', () => {
    const lines = printInspection(inspectPreset('gpt-xl', {})).split('\n');
    expect(lines[0]).toBe('gpt-xl: gpt, 774,699,520 parameters');
    const words = lines.map((line) => line.trim().split(/ {2,}/).join(' | '));
    expect(words).toContain('patches | positions | GMAC');
    for (const row of ['1x1 tokens | 256 | 198.7', '2x2 tokens | 64 | 48.5', '8x8 tokens | 4 | 3.0']) {
      expect(words).toContain(row);
    }
    expect(words.filter((line) => line.startsWith('--patch-level'))).toEqual([
      '--patch-level 2 --epoch-rate 0.5 | 0.625 | 0.622',
      '--patch-level 3 --epoch-rate 0.5 | 0.578 | 0.576',
      '--patch-level 4 --epoch-rate 0.5 | 0.572 | 0.571',
      '--patch-level 2 --epoch-rate 0.67 | 0.498 | 0.494',
      '--patch-level 4 --epoch-rate 0.67 | 0.400 | 0.398',
    ]);
  });

  it('counts another grid, and leaves out what does not divide it', () => {
    expect(printInspection(inspectPreset('gpt-b', { gridSize: 24 }))).toMatch(/1x1 tokens +576 +62\.3/);
    const { patches } = inspectPreset('gpt-nano', { gridSize: 6 });
    expect(patches!.levels.map(({ patchSide }) => patchSide)).toEqual([1, 2]);
    expect(patches!.schedules.map(({ patchLevel }) => patchLevel)).toEqual([2, 2]);
    expect(inspectPreset('enat-nano', {}).patches).toBeUndefined();
  });
});
