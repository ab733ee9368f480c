// A lock between processes, so that two set-ups at once do not write over each other: a file that holds the owner's pid,
// its running children, its host and a random mark, put in place by a hard link (it appears whole or not at all). The
// owner touches it every few seconds. It is stale when the owner and its children are gone (a killed set-up leaves npm or
// make running for a while), or when it has not been touched for long: then the pid belongs to another process by now, or
// to another host. A stale lock is moved aside before it is deleted, so that two waiters cannot both delete it.

import { randomUUID } from 'node:crypto';
import { linkSync, mkdirSync, readFileSync, renameSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { dirname } from 'node:path';
import { writeAtomically } from './cache.mjs';

const HEARTBEAT_MS = 5_000;
const STALE_MS = 60_000;
/** Children left alone are waited for this long: nobody touches the lock for them. */
const ORPHANS_MS = 600_000;
const POLL_MS = 200;

/** Locks held by this process, by path, with the text that says so. */
const held = new Map();
const children = new Set();

/**
 * Counts a child process to the holder of the locks, until the returned function is called.
 * @param {number} pid
 * @returns {() => void}
 */
export function shareLocks(pid) {
  children.add(pid);
  rewriteHeld();
  return () => {
    children.delete(pid);
    rewriteHeld();
  };
}

function rewriteHeld() {
  for (const [path, text] of held) {
    const changed = JSON.stringify({ ...JSON.parse(text), children: [...children] });
    if (readText(path) !== text) continue; // taken away from us
    writeAtomically(path, changed);
    held.set(path, changed);
  }
}

/**
 * Runs `work` while holding the lock; waits for another holder as long as that one lives.
 * @template T
 * @param {string} path
 * @param {() => Promise<T>} work
 * @param {(owner: number) => void} [onWait] called once, with the pid of the holder
 * @returns {Promise<T>}
 */
export async function withLock(path, work, onWait = () => {}) {
  mkdirSync(dirname(path), { recursive: true });
  const text = JSON.stringify({ pid: process.pid, children: [], host: hostname(), mark: randomUUID() });
  for (let waiting = false; !take(path, text); ) {
    if (breakStale(path)) continue;
    if (!waiting) onWait(livePids(path)[0] ?? 0);
    waiting = true;
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
  held.set(path, text);
  const heartbeat = setInterval(() => {
    try {
      utimesSync(path, new Date(), new Date());
    } catch {
      // the cache folder was deleted under us: the next step says so
    }
  }, HEARTBEAT_MS);
  heartbeat.unref();
  try {
    return await work();
  } finally {
    clearInterval(heartbeat);
    if (readText(path) === held.get(path)) rmSync(path, { force: true });
    held.delete(path);
  }
}

function take(path, text) {
  const temporary = `${path}.tmp-${process.pid}`;
  writeFileSync(temporary, text);
  try {
    linkSync(temporary, path);
    return true;
  } catch (error) {
    // ENOENT: the holder has just cleared temporary files out of the folder.
    if (error.code === 'EEXIST' || error.code === 'ENOENT') return false;
    throw error;
  } finally {
    rmSync(temporary, { force: true });
  }
}

/** Deletes the lock if its owner is gone; true when the caller should try to take it. */
function breakStale(path) {
  const text = readText(path);
  if (text === undefined) return true;
  if (!isStale(path)) return false;
  const aside = `${path}.tmp-${randomUUID()}`;
  try {
    renameSync(path, aside);
  } catch {
    return true;
  }
  // Between reading and moving, somebody else may have broken the stale lock and taken it: give theirs back.
  if (readText(aside) !== text) {
    try {
      linkSync(aside, path);
    } catch {
      // a third one has it by now
    }
  }
  rmSync(aside, { force: true });
  return true;
}

function isStale(path) {
  let age;
  try {
    age = Date.now() - statSync(path).mtimeMs;
  } catch {
    return true;
  }
  const owner = read(path);
  if (owner === undefined || age > ORPHANS_MS) return true;
  if (owner.host !== hostname()) return age > STALE_MS;
  const alive = livePids(path);
  return alive.length === 0 || (alive.includes(owner.pid) && age > STALE_MS);
}

/** The owner and its children, those that still run. */
function livePids(path) {
  const owner = read(path);
  return [owner?.pid, ...(owner?.children ?? [])].filter((pid) => Number.isInteger(pid) && pid > 0 && isAlive(pid));
}

function isAlive(pid) {
  try {
    process.kill(pid, 0);
  } catch (error) {
    return error.code !== 'ESRCH';
  }
  // A killed process that nobody has waited for yet still answers. Linux only: (name) state, where the name may hold ')'.
  return !/\) [ZX] [^)]*$/.test(readText(`/proc/${pid}/stat`) ?? '');
}

function read(path) {
  try {
    const owner = JSON.parse(readText(path) ?? '');
    return Number.isInteger(owner.pid) && Array.isArray(owner.children) ? owner : undefined;
  } catch {
    return undefined;
  }
}

function readText(path) {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}
