import { describe, expect, it } from 'vitest';
import { explainFailure, parseSign, type Situation } from './roll-call.ts';

describe('parseSign', () => {
  it('finds a group among others', () => {
    const text = '17\nworld 4 allReduce float32 [2, 3]\ngroup1 9 left';
    expect(parseSign(text, 'world')).toEqual({ sequence: 4, label: 'allReduce float32 [2, 3]' });
    expect(parseSign(text, 'group1')).toEqual({ sequence: 9, label: 'left' });
    expect(parseSign(text, 'group2')).toBeUndefined();
    expect(parseSign('17', 'world')).toBeUndefined();
    expect(parseSign('', 'world')).toBeUndefined();
  });
});

describe('explainFailure', () => {
  const explain = (signs: string[], cause = 'Timed out waiting 5000ms', more: Partial<Situation> = {}) => {
    const ranks = signs.map((_, k) => k);
    const error = explainFailure({
      ...{ operation: 'allReduce', group: 'world', ranks, rank: 0, sequence: 7, label: 'allReduce float32 [2]', signs },
      ...{ windowMs: 3000, timeoutMs: 5000, cause: new Error(cause), ...more },
    });
    return [error.code, error.ranks, error.message.replace(/^allReduce: .* on rank 0: /, '')];
  };
  const here = '3\nworld 7 allReduce float32 [2]';

  it('tells who is gone, late, elsewhere, has left or is not in the group', () => {
    expect(explain([here, ''])).toEqual(['RANK_GONE', [1], 'rank 1 is gone (no sign of life for 3 s)']);
    expect(explain([here, '9\nworld 6 barrier'])).toEqual([
      'RANK_MISSING',
      [1],
      'rank 1 did not come (it is after collective 6, barrier)',
    ]);
    expect(explain([here, '9\nworld 7 barrier'])).toEqual(['RANKS_DISAGREE', [1], 'rank 1 is in barrier instead']);
    expect(explain([here, '9\nworld 7 left'])).toEqual(['RANK_GONE', [1], 'rank 1 has left the group']);
    expect(explain([here, '9\ngroup1 7 barrier'])).toEqual([
      'RANK_MISSING',
      [1],
      'rank 1 did not come (it has not entered the group)',
    ]);
  });

  it('blames the cause, not those who failed because of it', () => {
    const echo = '9\nworld 7 failed: allReduce: rank 2 is gone';
    const [code, ranks, message] = explain([here, echo, '']);
    expect([code, ranks]).toEqual(['RANK_GONE', [2]]);
    expect(message).toBe('rank 2 is gone (no sign of life for 3 s); rank 1 failed: allReduce: rank 2 is gone');
    expect(explain([here, echo])[1]).toEqual([1]);
  });

  it('says so when all are there, and tells a timeout from a broken connection', () => {
    const all = [here, '9\nworld 7 allReduce float32 [2]', '9\nworld 8 barrier'];
    const error = explainFailure({
      ...{
        operation: 'allReduce',
        group: 'world',
        ranks: [0, 1, 2],
        rank: 0,
        sequence: 7,
        label: 'allReduce float32 [2]',
      },
      ...{ signs: all, windowMs: 3000, timeoutMs: 5000, cause: new Error('Connection closed by peer\nframe 1') },
    });
    expect(error.message).toBe(
      'allReduce: the connection broke at collective 7 (allReduce float32 [2]) on rank 0, though all ranks are there: Connection closed by peer',
    );
    expect(error.code).toBe('COMMUNICATION');
    expect(explain(all)[2]).toContain('not done within 5 s');
  });

  it('gives ranks of the world, not of the group', () => {
    expect(explain(['', here, ''], undefined, { ranks: [4, 0, 9] })[1]).toEqual([4, 9]);
  });
});
