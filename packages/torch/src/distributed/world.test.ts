/** A world of one process, and what can go wrong before there is a second one. */

import { createServer } from 'node:net';
import { afterEach, expect, it } from 'vitest';
import * as T from '../index.ts';

afterEach(() => T.destroyProcessGroup());

it('needs no launcher, and its collectives leave values as they are', async () => {
  expect(T.isDistributed()).toBe(false);
  const before = T.memoryStats().liveTensors;
  const group = await T.initProcessGroup({ rank: 0, worldSize: 1, timeoutMs: 20_000, backend: 'gloo' });
  expect([T.isDistributed(), T.processGroup() === group, group.rank, group.size]).toEqual([true, true, 0, 1]);
  T.scope(() => {
    for (const reduction of ['sum', 'avg', 'max', 'min', 'product'] as const) {
      expect(group.allReduce(T.tensor([3, -1]), { reduction }).toNumbers()).toEqual([3, -1]);
    }
    expect(group.allGather(T.tensor([[3], [4]])).shape).toEqual([1, 2, 1]);
    expect(group.reduceScatter(T.tensor([[3, 4]]).t()).toNumbers()).toEqual([3, 4]);
    expect(group.allReduce(T.zeros([0])).shape).toEqual([0]);
    const work = group.startAllReduce(T.tensor([5]));
    expect([work.wait().item(), work.wait().item(), work.isDone]).toEqual([5, 5, true]);
  });
  expect(await T.allGatherObject(group, { a: [1] })).toEqual([{ a: [1] }]);
  expect(await T.broadcastObject(group, 'x')).toBe('x');
  await expect(T.broadcastObject(group, undefined)).rejects.toThrow(TypeError);
  group.store.set('bytes', Uint8Array.of(0, 255));
  expect(group.store.getBytes('bytes')).toEqual(Uint8Array.of(0, 255));
  expect([group.store.delete('bytes'), group.store.delete('bytes')]).toEqual([true, false]);
  await expect(group.store.wait('never', { timeoutMs: 30 })).rejects.toThrow(
    'store.wait: nobody has set the key "never" within 0.03 s',
  );
  await expect(T.newGroup([1])).rejects.toMatchObject({ code: 'ARGUMENT' });
  expect((await T.newGroup([0]))!.size).toBe(1);
  expect(T.memoryStats().liveTensors).toBe(before);

  await T.destroyProcessGroup();
  expect(() => group.barrier()).toThrow(expect.objectContaining({ code: 'NO_GROUP' }));
  expect(() => T.processGroup()).toThrow(/call initProcessGroup first/);
  const again = await T.initProcessGroup({ rank: 0, worldSize: 1, timeoutMs: 20_000, backend: 'gloo' });
  again.barrier();
});

it('says that the port is in use, that there is no NCCL, and that the timeout is none', async () => {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '0.0.0.0', resolve));
  const { port } = server.address() as { port: number };
  const busy = T.initProcessGroup({
    rank: 0,
    worldSize: 2,
    masterAddress: '127.0.0.1',
    masterPort: port,
    timeoutMs: 2000,
  });
  await expect(busy).rejects.toMatchObject({
    code: 'ENVIRONMENT',
    message: expect.stringMatching(new RegExp(`^initProcessGroup: rank 0 cannot open its store at 127.0.0.1:${port}`)),
  });
  await new Promise((resolve) => server.close(resolve));
  await expect(T.initProcessGroup({ rank: 0, worldSize: 1, timeoutMs: 0 })).rejects.toThrow(
    /expected timeoutMs >= 1, got 0/,
  );
  if (T.cudaIsAvailable()) return;
  await expect(T.initProcessGroup({ rank: 0, worldSize: 1, backend: 'nccl', timeoutMs: 5000 })).rejects.toThrow(/NCCL/);
  expect(T.isDistributed()).toBe(false);
});
