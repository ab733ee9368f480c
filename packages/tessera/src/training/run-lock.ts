/**
 * One process a run folder: a lock file that says which process holds it. A lock whose process is gone, as after
 * kill -9, a restart of the machine or a job's way back into Slurm's queue, is broken; process numbers are used again, so the
 * start time counts too.
 */

import { existsSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { createWhole } from '../data/whole-folder.ts';
import { TrainingError } from './training-error.ts';

interface Holder {
  pid: number;
  host: string;
  /** Tells processes of one number apart; empty where the system does not say. */
  started: string;
  /** Slurm's job and how often it was queued again, where there is one. */
  job?: { id: string; restarts: number } | undefined;
}

/** Takes the lock of a folder that exists; returns what frees it. */
export function lockRun(folder: string): () => void {
  const path = join(folder, 'run.lock');
  const me: Holder = { pid: process.pid, host: hostname(), started: startOf(process.pid), job: slurmJob() };
  const mine = JSON.stringify(me);
  // Twice: the first failure may be a stale lock, a second one is somebody who was faster.
  for (let attempt = 0; !createWhole(path, mine); attempt++) {
    const theirs = read(path);
    if (theirs === undefined) {
      // Gone meanwhile: try again. Still there, and not to be read: somebody else's.
      if (attempt > 0 && existsSync(path)) throw busy(folder, path, undefined);
      continue;
    }
    const holder = parse(theirs);
    if (attempt > 0 || (holder !== undefined && isAlive(holder))) throw busy(folder, path, holder);
    breakLock(path, theirs, folder);
  }
  let held = true;
  return () => {
    if (held && read(path) === mine) rmSync(path, { force: true });
    held = false;
  };
}

/** Moves a stale lock away; should another process have replaced it meanwhile, puts that one back and gives up. */
function breakLock(path: string, stale: string, folder: string): void {
  const aside = `${path}.stale.${process.pid}`;
  try {
    renameSync(path, aside);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw error;
  }
  const moved = read(aside);
  if (moved !== undefined && moved !== stale) {
    createWhole(path, moved);
    rmSync(aside, { force: true });
    throw busy(folder, path, parse(moved));
  }
  rmSync(aside, { force: true });
}

function busy(folder: string, path: string, holder: Holder | undefined): TrainingError {
  const who = holder === undefined ? 'another process' : `process ${holder.pid} on ${holder.host}`;
  return new TrainingError(
    'RUN_BUSY',
    `The run ${folder} is being written by ${who}: wait for it, stop it, or choose another folder. If it is certainly ` +
      `gone, delete ${path}.`,
  );
}

function isAlive(holder: Holder): boolean {
  // A job that Slurm has queued again has ended everywhere. Of other processes on another machine nothing can be known.
  const job = slurmJob();
  if (job !== undefined && holder.job?.id === job.id && holder.job.restarts < job.restarts) return false;
  if (holder.host !== hostname()) return true;
  try {
    process.kill(holder.pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
  const now = startOf(holder.pid);
  return now === '' || holder.started === '' || now === holder.started;
}

function slurmJob(env: NodeJS.ProcessEnv = process.env): Holder['job'] {
  const { SLURM_JOB_ID: id, SLURM_RESTART_COUNT: restarts } = env;
  return id === undefined ? undefined : { id, restarts: Number(restarts ?? 0) };
}

/** Boot and start time of a process, on Linux. */
function startOf(pid: number): string {
  try {
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The name in brackets may hold spaces; field 22 of the whole line is field 20 after it.
    return `${boot} ${stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]}`;
  } catch {
    return '';
  }
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}

function parse(text: string): Holder | undefined {
  try {
    const holder = JSON.parse(text) as Holder;
    return Number.isInteger(holder.pid) && typeof holder.host === 'string' ? holder : undefined;
  } catch {
    return undefined;
  }
}
