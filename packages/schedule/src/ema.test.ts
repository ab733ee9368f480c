import { describe, expect, it } from 'vitest';
import { emaDecayAt, emaSchema } from './ema.ts';

describe('emaDecayAt', () => {
  it('grows from a tenth to the constant', () => {
    const ema = emaSchema.parse({ decay: 0.999 });
    expect(emaDecayAt(ema, 0)).toBe(0.1);
    expect(emaDecayAt(ema, 80)).toBe(0.9);
    expect(emaDecayAt(ema, 8989)).toBeLessThan(0.999);
    expect(emaDecayAt(ema, 8991)).toBe(0.999);
  });

  it('is constant without the warm-up', () => {
    expect(emaDecayAt(emaSchema.parse({ warmup: false }), 0)).toBe(0.9999);
  });

  it('keeps less than a millionth of the initial weights after 100 steps', () => {
    const ema = emaSchema.parse({});
    let kept = 1;
    for (let step = 0; step < 100; step++) kept *= emaDecayAt(ema, step);
    expect(kept).toBeLessThan(1e-6);
  });

  it('refuses decay 1, an unknown key, and a step that is none', () => {
    expect(() => emaSchema.parse({ decay: 1 })).toThrow(/decay/);
    expect(() => emaSchema.parse({ warmUp: 1 })).toThrow(/did you mean \\"warmup\\"/);
    expect(() => emaDecayAt(emaSchema.parse({}), 0.5)).toThrow(/step/);
  });
});
