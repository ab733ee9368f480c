/** Collectives over Gloo between real processes, and what happens when one of them is not there. */

import { afterEach, describe, expect, it } from 'vitest';
import { type EndedRank, freePort, killRanks, runRanks, startRanks } from './spawn-ranks.test-support.ts';

afterEach(killRanks);

function answers(ended: readonly EndedRank[]): unknown[][] {
  for (const { end, stderr } of ended) expect({ end, stderr }).toEqual({ end: 0, stderr: '' });
  return ended.map(({ said }) => said);
}

describe('two processes', { timeout: 60_000 }, () => {
  it('reduce, gather, scatter and tell each other values', async () => {
    const ended = await runRanks(
      `
      const group = await T.initProcessGroup({ timeoutMs: 30_000 });
      const own = () => T.tensor([[1, 2], [3, 4]]).mul(rank === 0 ? 1 : -3);
      const out = {};
      for (const reduction of ['sum', 'avg', 'max', 'min', 'product']) {
        out[reduction] = group.allReduce(own(), { reduction }).toNumbers();
      }
      out.int64 = group.allReduce(T.tensor([rank, 2 ** 40], 'int64')).toNumbers();
      out.float16 = group.allReduce(T.tensor([rank + 0.5]).to('float16')).toNumbers();
      const sent = T.tensor([rank, rank + 10]);
      group.broadcast(sent, 1);
      out.broadcast = sent.toNumbers();
      const gathered = group.allGather(T.tensor([[rank], [rank + 0.5]]));
      out.gathered = [gathered.shape, gathered.toNumbers()];
      const scattered = group.reduceScatter(T.tensor([[1], [2], [3], [4]]).add(rank));
      out.scattered = [scattered.shape, scattered.toNumbers()];
      out.scatteredAverage = group.reduceScatter(T.tensor([1, 2]).add(rank), { reduction: 'avg' }).toNumbers();
      const [rows, half] = [T.zeros([2, 1]), T.zeros([1])];
      group.allGather(T.tensor([rank + 5]), { into: rows });
      out.into = [rows.toNumbers(), group.reduceScatter(T.tensor([1, 2]), { into: half }) === half, half.toNumbers()];
      const leaf = T.tensor([rank + 1]).requiresGrad_();
      group.allReduce(leaf);
      out.leaf = [leaf.toNumbers(), leaf.requiresGrad];
      group.barrier();

      let ticks = 0;
      const timer = setInterval(() => ticks++, 1);
      const works = [];
      for (let k = 0; k < 3; k++) works.push(group.startAllReduce(T.tensor([k + rank])));
      if (rank === 1) await new Promise((resolve) => setTimeout(resolve, 50));
      const late = group.startAllReduce(T.tensor([100 + rank]));
      out.asynchronous = (await Promise.all([...works, late].map((work) => work.finished()))).map((t) => t.item());
      out.done = late.isDone;
      clearInterval(timer);
      out.loopWentOn = ticks > 0;

      out.object = await T.broadcastObject(group, rank === 1 ? { name: 'é', list: [1, null] } : undefined, 1);
      out.objects = await T.allGatherObject(group, 'x'.repeat(rank * 5));
      if (rank === 0) group.store.set('key', 'väl');
      out.stored = new TextDecoder().decode(await group.store.wait('key'));
      out.unset = group.store.get('nothing') === undefined;
      group.store.add('sum', rank + 1);
      group.barrier();
      out.sum = group.store.add('sum', 0);
      say(out);
      say(T.memoryStats().liveTensors > 0);
      await T.destroyProcessGroup();
      `,
      2,
    );
    const [first, second] = answers(ended);
    const expected = {
      ...{ sum: [-2, -4, -6, -8], avg: [-1, -2, -3, -4], max: [1, 2, 3, 4], min: [-3, -6, -9, -12] },
      ...{ product: [-3, -12, -27, -48], int64: [1, 2 ** 41], float16: [2], broadcast: [1, 11] },
      gathered: [
        [2, 2, 1],
        [0, 0.5, 1, 1.5],
      ],
      ...{ asynchronous: [1, 3, 5, 201], done: true, loopWentOn: true, object: { name: 'é', list: [1, null] } },
      ...{ objects: ['', 'xxxxx'], stored: 'väl', unset: true, sum: 3, leaf: [[3], true] },
    };
    expect(first![0]).toEqual({
      ...expected,
      scattered: [
        [2, 1],
        [3, 5],
      ],
      scatteredAverage: [1.5],
      into: [[5, 6], true, [2]],
    });
    expect(second![0]).toEqual({
      ...expected,
      scattered: [
        [2, 1],
        [7, 9],
      ],
      scatteredAverage: [2.5],
      into: [[5, 6], true, [4]],
    });
  });

  it('say what was wrong with an argument, on this rank and between ranks', async () => {
    const ended = await runRanks(
      `
      const group = await T.initProcessGroup({ timeoutMs: 20_000, checkCollectives: true });
      const problem = (body) => { try { body(); } catch (error) { return [error.code, error.message]; } };
      const gone = T.ones([2]);
      gone.dispose();
      for (const body of [
        () => group.allReduce([1, 2]),
        () => group.allReduce(T.ones([2]), { reduction: 'mean' }),
        () => group.allReduce(T.ones([2], { dtype: 'int64' }), { reduction: 'avg' }),
        () => group.broadcast(T.ones([2]), 2),
        () => group.reduceScatter(T.ones([3])),
        () => group.allReduce(gone),
        () => group.broadcast(T.ones([2, 3]).t(), 0),
        () => group.allGather(T.ones([2]), { into: T.zeros([2, 3]) }),
      ]) say(problem(body)?.slice(0, 2) ?? 'no error');
      say(problem(() => group.allReduce(T.ones([rank + 2]))));
      await T.initProcessGroup().catch((error) => say(error.code));
      await T.destroyProcessGroup();
      try { T.processGroup(); } catch (error) { say(error.code); }
      try { group.barrier(); } catch (error) { say(error.code); }
      `,
      2,
    );
    const [first] = answers(ended);
    expect(first!.slice(0, 6)).toEqual([
      ['ARGUMENT', 'allReduce: expected a tensor, got object'],
      ['ARGUMENT', 'allReduce: expected a reduction of sum, avg, max, min, product, got "mean"'],
      ['ARGUMENT', 'allReduce: avg expected a floating dtype, got int64 [2]: use sum'],
      ['ARGUMENT', 'broadcast: expected a root in 0..1, got 2'],
      ['ARGUMENT', 'reduceScatter: expected a first dimension that 2 ranks divide, got float32 [3]'],
      ['DISPOSED', expect.stringMatching(/disposed/)],
    ]);
    expect(first![6]).toEqual(['ARGUMENT', expect.stringContaining('call contiguous() first (float32 [3, 2])')]);
    expect(first![7]).toEqual(['ARGUMENT', 'allGather: expected a contiguous float32 [2, 2] on cpu for the result, got float32 [2, 3]']); // biome-ignore format: one row
    expect(first![8]).toEqual([
      'RANKS_DISAGREE',
      'allReduce: the ranks do not agree on collective 1: here (rank 0) allReduce float32 [2] sum 0; rank 1 has allReduce float32 [3] sum 0',
    ]);
    expect(first!.slice(9)).toEqual(['NO_GROUP', 'NO_GROUP', 'NO_GROUP']);
  });
});

describe('four processes', { timeout: 60_000 }, () => {
  it('form sub-groups that work side by side', async () => {
    const ended = await runRanks(
      `
      const group = await T.initProcessGroup({ timeoutMs: 30_000 });
      const even = await T.newGroup([0, 2]);
      const reversed = await T.newGroup([3, 1, 2], { timeoutMs: 20_000 });
      const out = { all: group.allReduce(T.tensor([2 ** rank])).item() };
      if (even) out.even = [even.rank, even.allReduce(T.tensor([2 ** rank])).item()];
      if (reversed) {
        out.reversed = [reversed.rank, reversed.size, reversed.allGather(T.tensor(rank)).toNumbers()];
        out.fromFirst = reversed.broadcast(T.tensor([rank]), 0).item();
      }
      out.scattered = group.reduceScatter(T.arange(0, 8, 1, { dtype: 'float32' }).mul(rank)).toNumbers();
      out.objects = await T.allGatherObject(group, { rank });
      await T.newGroup([0, 0]).catch((error) => say(error.message));
      say(out);
      await T.destroyProcessGroup();
      `,
      4,
    );
    const objects = [0, 1, 2, 3].map((rank) => ({ rank }));
    const said = answers(ended);
    for (const [message] of said) expect(message).toBe('newGroup: expected different ranks in 0..3, got [0, 0]');
    const common = { all: 15, objects };
    const gathered = [3, 1, 2];
    expect(said.map(([, out]) => out)).toEqual([
      { ...common, even: [0, 5], scattered: [0, 6] },
      { ...common, reversed: [1, 3, gathered], fromFirst: 3, scattered: [12, 18] },
      { ...common, even: [1, 5], reversed: [2, 3, gathered], fromFirst: 3, scattered: [24, 30] },
      { ...common, reversed: [0, 3, gathered], fromFirst: 3, scattered: [36, 42] },
    ]);
  });
});

describe('a rank', { timeout: 90_000 }, () => {
  const meet = (timeoutMs: number) => `
    const start = Date.now();
    try { await T.initProcessGroup({ timeoutMs: ${timeoutMs} }); } catch (error) { say({ ...tell(error), ms: Date.now() - start }); }
  `;

  it('that never starts is named, also when it is rank 0', async () => {
    const [port, other] = [await freePort(), await freePort()];
    const present = [...startRanks(meet(1500), [0, 2], 4, port), ...startRanks(meet(1500), [1], 2, other)];
    const said = answers(await Promise.all(present.map(({ ended }) => ended))).map(([error]) => error);
    for (const error of said.slice(0, 2)) {
      expect(error).toMatchObject({ code: 'RANK_MISSING', ranks: [1, 3] });
      expect((error as Error).message).toMatch(
        /^initProcessGroup: ranks 1, 3 of 4 did not come within \d\.\d s \(here: rank [02]\)$/,
      );
    }
    expect(said[2]).toMatchObject({
      ...{ code: 'RANK_MISSING', ranks: [0] },
      message: `initProcessGroup: rank 0 did not open the store at 127.0.0.1:${other} within 1.5 s (here: rank 1)`,
    });
    // Not before its time, and not long after it; other work on the machine delays.
    for (const error of said) expect((error as { ms: number }).ms).toBeGreaterThan(1400);
    for (const error of said) expect((error as { ms: number }).ms).toBeLessThan(30_000);
  });

  it('that is started twice is told so', async () => {
    const port = await freePort();
    const ended = await Promise.all(startRanks(meet(3000), [0, 1, 1], 3, port).map(({ ended }) => ended));
    const errors = answers(ended).map(([error]) => error as { code: string; message: string });
    expect(errors.filter(({ code }) => code === 'ENVIRONMENT').map(({ message }) => message)).toEqual([
      expect.stringMatching(
        /^initProcessGroup: two processes say that they are rank 1: process \d+ on .*, and this one/,
      ),
    ]);
  });

  it('that is killed, hangs or leaves is named by the others', async () => {
    const [first, second, third] = startRanks(
      `
      const group = await T.initProcessGroup({ timeoutMs: 30_000 });
      group.barrier();
      say('ready');
      if (rank === 2) await new Promise((resolve) => setTimeout(resolve, 60_000));
      try { await group.startAllReduce(T.ones([4])).finished(); } catch (error) { say(tell(error)); }
      await T.destroyProcessGroup();
      `,
      ...([[0, 1, 2], 3, await freePort()] as const),
    );
    await Promise.all([first!, second!, third!].map((rank) => rank.heard('ready')));
    third!.process.kill('SIGKILL');
    const ended = await Promise.all([first!.ended, second!.ended]);
    for (const [, error] of answers(ended)) {
      // The other survivor may have failed, and left, before this one asked.
      expect(error).toMatchObject({ code: 'RANK_GONE', ranks: expect.arrayContaining([2]) });
      expect((error as Error).message).toMatch(
        /^allReduce: .* at collective 2 \(allReduce float32 \[4\]\) on rank [01]: .*rank 2 is gone \(no sign of life for 3 s\)/,
      );
    }
    expect((await third!.ended).end).toBe('SIGKILL');
  });

  it('that comes too late, calls something else or leaves is named by the others', async () => {
    const ended = await runRanks(
      `
      const group = await T.initProcessGroup({ timeoutMs: 30_000 });
      const sub = await T.newGroup([1, 2]);
      const error = (body) => { try { body(); } catch (error) { return tell(error); } };
      if (rank === 2) await new Promise((resolve) => setTimeout(resolve, 3000));
      if (rank > 0) say(error(() => sub.allReduce(T.ones([3]), { timeoutMs: 500 })));
      if (rank === 0) await group.store.wait('over');
      if (rank === 1) { await group.store.wait('bye'); group.store.set('over', ''); }
      if (rank === 2) group.store.set('bye', '');
      await T.destroyProcessGroup();
      `,
      3,
    );
    const said = answers(ended);
    expect(said[1]![0]).toMatchObject({
      ...{ code: 'RANK_MISSING', ranks: [2] },
      message:
        'allReduce: not done within 0.5 s at collective 1 (allReduce float32 [3]) on rank 1: rank 2 did not come (it has not entered the group)',
    });
    expect(said[2]![0]).toMatchObject({ ranks: [1], code: 'RANK_GONE' });
    expect((said[2]![0] as Error).message).toContain('rank 1 failed: allReduce: not done within 0.5 s');
  });
});
