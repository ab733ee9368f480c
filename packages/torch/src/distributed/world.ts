// Meeting and parting: initProcessGroup, sub-groups, and a shutdown that leaves nobody waiting. Rank 0 holds the store
// (or the launcher does), every rank announces itself there, and who has not come within the timeout is named.

import { spawnSync } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { lookup } from 'node:dns/promises';
import { hostname } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { addon } from '../native/addon.ts';
import { DistributedError } from './distributed-error.ts';
import { type ProcessGroupAddress, readProcessGroupAddress } from './environment.ts';
import { ProcessGroup } from './process-group.ts';
import { KeyValueStore, pollUntil } from './store.ts';

export interface ProcessGroupOptions extends Partial<ProcessGroupAddress> {
  /** Longest wait for other ranks, at the start and in each collective. Default: 10 minutes. */
  timeoutMs?: number;
  /** `gloo` for tensors on the CPU alone; `nccl` adds NCCL for tensors on CUDA. Default: nccl where there is CUDA. */
  backend?: 'gloo' | 'nccl';
  /** Compare every collective between the ranks before it starts: slow, finds mistakes. Default: false. */
  checkCollectives?: boolean;
}

const TEN_MINUTES = 600_000;
/** Time between two signs of life, and how long they are waited for once something has failed. */
const BEAT_MS = 500;
const WINDOW_MS = 3000;
/** Longest wait of rank 0 for the others when it closes the store. */
const FAREWELL_MS = 10_000;
/** For a process to start on a busy machine. */
const PROBE_START_MS = 10_000;
/** How long rank 0 keeps the store after it has given up, for the others to read why. */
const LINGER_MS = 1000;

interface World {
  readonly address: ProcessGroupAddress;
  readonly options: Required<Pick<ProcessGroupOptions, 'timeoutMs' | 'backend' | 'checkCollectives'>>;
  readonly store: KeyValueStore;
  readonly ownAddress: string;
  readonly groups: ProcessGroup[];
  groupsMade: number;
}

let world: World | undefined;
let isMeeting = false;

/** Joins the processes that a launcher has started (environment.ts) and returns the group of all of them. */
export async function initProcessGroup(options: ProcessGroupOptions = {}): Promise<ProcessGroup> {
  if (world !== undefined || isMeeting) {
    throw new DistributedError('NO_GROUP', 'initProcessGroup', 'there is a process group already: destroy it first');
  }
  isMeeting = true;
  try {
    return await meet(options);
  } catch (error) {
    addon().distributedClose();
    world = undefined;
    throw error;
  } finally {
    isMeeting = false;
  }
}

/** The group of all processes. Throws before initProcessGroup. */
export function processGroup(): ProcessGroup {
  return theWorld('processGroup').groups[0]!;
}

export function isDistributed(): boolean {
  return world !== undefined;
}

/**
 * A group of some ranks of the world, in that order. Every rank of the world must call it with the same list, also
 * those outside it, which get undefined.
 */
export async function newGroup(
  ranks: readonly number[],
  options: { timeoutMs?: number } = {},
): Promise<ProcessGroup | undefined> {
  const all = theWorld('newGroup');
  const { rank, worldSize } = all.address;
  const isRank = (r: number) => Number.isInteger(r) && r >= 0 && r < worldSize;
  if (ranks.length === 0 || new Set(ranks).size !== ranks.length || !ranks.every(isRank)) {
    const problem = `expected different ranks in 0..${worldSize - 1}, got [${ranks.join(', ')}]`;
    throw new DistributedError('ARGUMENT', 'newGroup', problem);
  }
  const name = `group${all.groupsMade++}`;
  if (!ranks.includes(rank)) return undefined;
  const { timeoutMs = all.options.timeoutMs } = options;
  return openGroup(all, name, ranks, timeoutMs);
}

/**
 * Leaves all groups and closes the store. Rank 0 waits a moment for the others (`farewellMs`, by default 10 s at most; 0
 * where something has failed and they may never come). Does nothing without a group.
 */
export async function destroyProcessGroup({ farewellMs = FAREWELL_MS } = {}): Promise<void> {
  if (world === undefined) return;
  const { address, store, groups } = world;
  world = undefined;
  for (const group of groups) group.leave();
  try {
    const left = store.add('left', 1);
    if (address.rank === 0 && !address.launcherHoldsStore && left < address.worldSize) {
      await pollUntil(() => (store.add('left', 0) >= address.worldSize ? true : undefined), farewellMs);
    }
  } catch {
    // The store has gone with its holder: there is nobody left to wait for.
  }
  addon().distributedClose();
}

async function meet(options: ProcessGroupOptions): Promise<ProcessGroup> {
  const { timeoutMs = TEN_MINUTES, checkCollectives = false } = options;
  if (!(timeoutMs >= 1)) {
    throw new DistributedError('ENVIRONMENT', 'initProcessGroup', `expected timeoutMs >= 1, got ${timeoutMs}`);
  }
  const address = readProcessGroupAddress(options);
  const native = addon();
  const backend = options.backend ?? (native.cudaDeviceCount() > 0 && native.hasNccl() ? 'nccl' : 'gloo');
  const deadline = performance.now() + timeoutMs;
  const { handle, port } = await openStore(address, Math.ceil(timeoutMs));
  const { ownAddress, masterAddress } = await addressesTowards(address.masterAddress, port);
  const isElsewhere = ownAddress !== masterAddress;
  const store = new KeyValueStore(handle, timeoutMs, () => !isElsewhere || answers(masterAddress, port, WINDOW_MS));
  await arrive(address, store, Math.max(1, deadline - performance.now()));
  const set = { timeoutMs: Math.ceil(timeoutMs), backend, checkCollectives };
  world = { address, options: set, store, ownAddress, groups: [], groupsMade: 1 };
  const everybody = Array.from({ length: address.worldSize }, (_, rank) => rank);
  return openGroup(world, 'world', everybody, set.timeoutMs);
}

async function openStore(address: ProcessGroupAddress, timeoutMs: number): Promise<{ handle: number; port: number }> {
  const { rank, masterAddress, masterPort, launcherHoldsStore, attempt } = address;
  const isServer = rank === 0 && !launcherHoldsStore;
  const where = `${masterAddress}:${masterPort}`;
  try {
    const [handle, port] = await addon().storeOpen(
      ...([masterAddress, masterPort, isServer, `tessera/${attempt}`, timeoutMs, signKey(rank), BEAT_MS] as const),
    );
    return { handle, port };
  } catch (cause) {
    if (isServer) {
      const reason = (cause as Error).message.split('\n')[0];
      const problem = `rank 0 cannot open its store at ${where} (is the port in use?): ${reason}`;
      throw new DistributedError('ENVIRONMENT', 'initProcessGroup', problem, { cause });
    }
    const holder = launcherHoldsStore ? 'the launcher' : 'rank 0';
    const problem = `${holder} did not open the store at ${where} within ${timeoutMs / 1000} s (here: rank ${rank})`;
    throw new DistributedError('RANK_MISSING', 'initProcessGroup', problem, {
      ranks: launcherHoldsStore ? [] : [0],
      cause,
    });
  }
}

/** Announces this rank and waits for all others. */
async function arrive(address: ProcessGroupAddress, store: KeyValueStore, timeoutMs: number): Promise<void> {
  const { rank, worldSize } = address;
  if (store.add(`arrivals/${rank}`, 1) > 1) {
    const other = store.get(`arrived/${rank}`) ?? 'another process';
    const problem = `two processes say that they are rank ${rank}: ${other}, and this one (${whoAmI()})`;
    throw new DistributedError('ENVIRONMENT', 'initProcessGroup', problem, { ranks: [rank] });
  }
  store.set(`arrived/${rank}`, whoAmI());
  store.add('arrivals', 1);
  // The first rank whose time is over tells the others, whose own time may end a little later.
  const look = () => (store.add('arrivals', 0) >= worldSize ? '[]' : store.get('verdict'));
  let verdict = await pollUntil(look, timeoutMs);
  if (verdict === '[]') return;
  if (verdict === undefined) {
    const everybody = Array.from({ length: worldSize }, (_, r) => r);
    verdict = JSON.stringify(everybody.filter((r) => store.get(`arrived/${r}`) === undefined));
    if (verdict === '[]') return; // the last one came just now
    store.set('verdict', verdict);
  }
  if (rank === 0 && !address.launcherHoldsStore) await sleep(LINGER_MS); // the store goes with this process
  const ranks = JSON.parse(verdict) as number[];
  const who = ranks.length === 1 ? `rank ${ranks[0]}` : `ranks ${ranks.join(', ')}`;
  const problem = `${who} of ${worldSize} did not come within ${(timeoutMs / 1000).toFixed(1)} s (here: rank ${rank})`;
  throw new DistributedError('RANK_MISSING', 'initProcessGroup', problem, { ranks });
}

async function openGroup(all: World, name: string, ranks: readonly number[], timeoutMs: number): Promise<ProcessGroup> {
  const { store, ownAddress, options, address } = all;
  const nccl = options.backend === 'nccl';
  const own = ranks.indexOf(address.rank);
  let handle: number;
  try {
    handle = await addon().groupOpen(store.handle, name, own, ranks.length, timeoutMs, ownAddress, nccl);
  } catch (cause) {
    const problem = `cannot connect rank ${address.rank} (${ownAddress}) to ranks ${ranks.join(', ')}: ${(cause as Error).message.split('\n')[0]}`;
    throw new DistributedError('COMMUNICATION', name === 'world' ? 'initProcessGroup' : 'newGroup', problem, { cause });
  }
  const group = new ProcessGroup({
    ...{ handle, name, ranks: [...ranks], worldRank: address.rank, store, timeoutMs, signKey },
    windowMs: WINDOW_MS,
    checkCollectives: options.checkCollectives,
  });
  all.groups.push(group);
  return group;
}

function signKey(rank: number): string {
  return `sign/${rank}`;
}

function whoAmI(): string {
  return `process ${process.pid} on ${hostname()}`;
}

/** Of this machine on the way to another one, which is what the others can reach it by; and of that. No packet is sent. */
async function addressesTowards(host: string, port: number): Promise<{ ownAddress: string; masterAddress: string }> {
  const { address, family } = await lookup(host);
  const socket = createSocket(family === 6 ? 'udp6' : 'udp4');
  try {
    return await new Promise((resolve, reject) => {
      socket.once('error', reject);
      socket.connect(port, address, () => resolve({ ownAddress: socket.address().address, masterAddress: address }));
    });
  } finally {
    socket.close();
  }
}

/** Whether somebody takes connections there, within the time. Blocks: what asks is blocked in a failed collective. */
function answers(host: string, port: number, timeoutMs: number): boolean {
  const program = `
    setTimeout(() => process.exit(1), ${timeoutMs});
    require('node:net').connect(${port}, ${JSON.stringify(host)})
      .on('connect', () => process.exit(0)).on('error', () => process.exit(1));`;
  const limits = { timeout: timeoutMs + PROBE_START_MS, stdio: 'ignore' as const };
  return spawnSync(process.execPath, ['-e', program], limits).status === 0;
}

function theWorld(operation: string): World {
  if (world !== undefined) return world;
  throw new DistributedError('NO_GROUP', operation, 'there is no process group: call initProcessGroup first');
}

// Threads of a group that outlives the end of the process would run into freed memory.
process.on('exit', () => {
  if (world === undefined) return;
  try {
    for (const group of world.groups) group.leave();
    addon().distributedClose();
  } catch {
    // The process ends anyway.
  }
});
