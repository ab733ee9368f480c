import { describe, expect, expectTypeOf, it } from 'vitest';
import { z } from 'zod';
import { ScheduleError } from './schedule-error.ts';
import { parseConfig, strictConfig } from './strict-config.ts';

const schema = strictConfig({
  embedDim: z.int().min(1),
  blocks: z.array(strictConfig({ numHeads: z.int() })).default([]),
});

const message = (value: unknown): string => {
  try {
    parseConfig(schema, value, 'config.json');
  } catch (error) {
    expect(error).toBeInstanceOf(ScheduleError);
    expect((error as ScheduleError).code).toBe('config-invalid');
    return (error as Error).message;
  }
  throw new Error('expected a ScheduleError');
};

describe('parseConfig', () => {
  it('returns the value with defaults, typed', () => {
    const config = parseConfig(schema, { embedDim: 8 }, 'config.json');
    expect(config).toEqual({ embedDim: 8, blocks: [] });
    expectTypeOf(config).toEqualTypeOf<{ embedDim: number; blocks: { numHeads: number }[] }>();
  });

  it('shows a few of many issues', () => {
    const blocks = Array.from({ length: 1000 }, () => ({ numHeads: 'x' }));
    expect(message({ embedDim: 8, blocks })).toMatch(/blocks\[5\]\.numHeads: [^;]*; and 994 more$/);
  });

  it('names the nearest known key, at any depth', () => {
    expect(message({ embedDim: 8, embed_dims: 9 })).toBe(
      'config.json: unknown key "embed_dims"; did you mean "embedDim"?',
    );
    expect(message({ embedDim: 8, blocks: [{ numHeads: 1 }, { numHeads: 2, numHaeds: 3 }] })).toBe(
      'config.json: blocks[1]: unknown key "numHaeds"; did you mean "numHeads"?',
    );
  });

  it('lists the known keys when none is near', () => {
    expect(message({ embedDim: 8, zzz: 1 })).toBe('config.json: unknown key "zzz"; known keys: embedDim, blocks');
  });

  it('says where other faults are', () => {
    expect(message({ embedDim: 'wide' })).toMatch(/^config\.json: embedDim: .*expected/);
    expect(message(null)).toMatch(/^config\.json: .*expected object/);
    expect(message({ embedDim: 1.5, zzz: 0 })).toMatch(/embedDim: .*; unknown key "zzz"/);
  });

  it('is not fooled by hostile keys', () => {
    expect(message(JSON.parse('{"embedDim": 8, "__proto__": {"a": 1}}'))).toMatch(/unknown key "__proto__"/);
    expect(message({ embedDim: 8, ['k'.repeat(1e6)]: 1 }).length).toBeLessThan(300);
  });
});
