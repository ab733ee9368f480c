// A lock between processes, so that two set-ups at once do not write over each other: a file that holds the owner's pid,
// host and a random mark, put in place by a hard link (it appears whole or not at all). The owner touches it every few
// seconds. It is stale when its process is gone or, on another host or in another container, when it has not been
// touched for a minute; a stale lock is moved aside before it is deleted, so that two waiters cannot both delete it.

import { randomUUID } from 'node:crypto';
import { linkSync, mkdirSync, readFileSync, renameSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { dirname } from 'node:path';

const HEARTBEAT_MS = 5_000;
const STALE_MS = 60_000;
const POLL_MS = 200;

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
  const text = JSON.stringify({ pid: process.pid, host: hostname(), mark: randomUUID() });
  for (let waiting = false; !take(path, text); ) {
    if (breakStale(path)) continue;
    if (!waiting) onWait(read(path)?.pid ?? 0);
    waiting = true;
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
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
    if (readText(path) === text) rmSync(path, { force: true });
  }
}

function take(path, text) {
  const temporary = `${path}.tmp-${process.pid}`;
  writeFileSync(temporary, text);
  try {
    linkSync(temporary, path);
    return true;
  } catch (error) {
    if (error.code === 'EEXIST') return false;
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
  if (age > STALE_MS) return true;
  const owner = read(path);
  if (owner === undefined) return true;
  if (owner.host !== hostname()) return false;
  try {
    process.kill(owner.pid, 0);
    return false;
  } catch (error) {
    return error.code === 'ESRCH';
  }
}

function read(path) {
  try {
    const owner = JSON.parse(readText(path) ?? '');
    return Number.isInteger(owner.pid) && owner.pid > 0 ? owner : undefined;
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
