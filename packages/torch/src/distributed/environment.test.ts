import { describe, expect, it } from 'vitest';
import { hasLauncherEnvironment, readProcessGroupAddress } from './environment.ts';

const TORCHRUN = { RANK: '3', WORLD_SIZE: '8', LOCAL_RANK: '1', MASTER_ADDR: 'node-0', MASTER_PORT: '29500' };

describe('readProcessGroupAddress', () => {
  it("reads torchrun's variables", () => {
    expect(readProcessGroupAddress({}, TORCHRUN)).toEqual({
      ...{ rank: 3, worldSize: 8, localRank: 1, masterAddress: 'node-0', masterPort: 29500 },
      ...{ launcherHoldsStore: false, attempt: 0 },
    });
    const restarted = { ...TORCHRUN, TORCHELASTIC_USE_AGENT_STORE: 'True', TORCHELASTIC_RESTART_COUNT: '2' };
    expect(readProcessGroupAddress({}, restarted)).toMatchObject({ launcherHoldsStore: true, attempt: 2 });
    expect([hasLauncherEnvironment(TORCHRUN), hasLauncherEnvironment({})]).toEqual([true, false]);
  });

  it('lets options win, and a world of one needs nothing but its size', () => {
    expect(readProcessGroupAddress({ rank: 0, masterPort: 1234 }, TORCHRUN)).toMatchObject({
      rank: 0,
      masterPort: 1234,
    });
    expect(readProcessGroupAddress({ rank: 0, worldSize: 1 }, {})).toMatchObject({
      masterAddress: '127.0.0.1',
      masterPort: 0,
    });
  });

  const cases: [string, Record<string, string | undefined>, RegExp][] = [
    [
      'nothing is set',
      Object.fromEntries(Object.keys(TORCHRUN).map((k) => [k, undefined])),
      /RANK and WORLD_SIZE must be set/,
    ],
    ['the address is missing', { MASTER_ADDR: undefined }, /: MASTER_ADDR must be set/],
    ['the rank is too large', { RANK: '8' }, /a rank in 0\.\.worldSize-1, got rank 8 of 8/],
    ['the rank is no number', { RANK: 'x' }, /a whole number >= 0 as RANK, got "x"/],
    ['the rank is negative', { RANK: '-1' }, /as RANK, got "-1"/],
    ['the world is empty', { WORLD_SIZE: '0' }, /a whole number >= 1 as WORLD_SIZE, got "0"/],
    ['the port is none', { MASTER_PORT: '65536' }, /a port in 1\.\.65535 as MASTER_PORT, got 65536/],
  ];
  it.each(cases)('says so when %s', (_, change, message) => {
    expect(() => readProcessGroupAddress({}, { ...TORCHRUN, ...change })).toThrow(message);
    expect(() => readProcessGroupAddress({}, { ...TORCHRUN, ...change })).toThrow(
      expect.objectContaining({ name: 'DistributedError', code: 'ENVIRONMENT', operation: 'initProcessGroup' }),
    );
  });
});
