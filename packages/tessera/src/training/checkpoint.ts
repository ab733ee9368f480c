/**
 * Checkpoint folders that are whole or absent, whenever the process dies: `checkpoints/step-NNNNNNN/`. Files are
 * written into a temporary folder and flushed, a manifest of their sizes and SHA-256 last, then the folder is renamed.
 * Among several ranks each writes its own files, and the first one writes the manifest once all are there.
 * Reading trusts a folder only when every file agrees with its manifest; all others are removed with a warning. Old
 * checkpoints go only after a new one is in place.
 *
 * What the files hold is saved-state.ts's business.
 */

import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import { sha256OfFile } from '../data/hash-file.ts';
import { replaceFile, syncPath } from './durable-file.ts';
import { Ranks } from './ranks.ts';
import { TrainingError } from './training-error.ts';

const MANIFEST = 'manifest.json';
const TEMPORARY = '.writing-';

const manifestSchema = z.object({
  formatVersion: z.literal(1),
  files: z.record(z.string(), z.object({ bytes: z.int().min(0), sha256: z.string().length(64) })),
});

/** A checkpoint known to be whole. */
export interface Checkpoint {
  /** Optimizer steps done. */
  readonly step: number;
  readonly path: string;
}

/** Such as `step-0000500`. */
export function checkpointName(step: number): string {
  return `step-${String(step).padStart(7, '0')}`;
}

/** A file of a checkpoint: its name, and what writes it at a path. */
export type CheckpointFile = readonly [name: string, write: (path: string) => void];

interface FileRow {
  bytes: number;
  sha256: string;
}

/**
 * Writes one checkpoint, each rank its own files; the first one makes the folder and commits it once all are done. On any
 * failure nothing of it stays and earlier ones are untouched; a rank that dies leaves a folder without a manifest.
 *
 * @param folder holds all checkpoints; made when missing
 * @param files this rank's, under names that no other rank uses
 */
export async function writeCheckpoint(
  folder: string,
  step: number,
  files: Iterable<CheckpointFile>,
  ranks: Ranks = new Ranks(),
): Promise<Checkpoint> {
  const path = join(folder, checkpointName(step));
  const temporary = join(folder, `${TEMPORARY}${checkpointName(step)}`);
  try {
    await ranks.decide(() =>
      explained(path, () => {
        rmSync(temporary, { recursive: true, force: true });
        mkdirSync(temporary, { recursive: true });
      }),
    );
    const rows = await ranks.together(() => explained(path, () => writeFiles(temporary, files)));
    const all = await ranks.all(rows);
    await ranks.decide(() => explained(path, () => commit(temporary, path, Object.assign({}, ...all))));
  } catch (error) {
    if (ranks.isFirst) removeQuietly(temporary);
    throw error;
  }
  return { step, path };
}

function writeFiles(folder: string, files: Iterable<CheckpointFile>): Record<string, FileRow> {
  const rows: Record<string, FileRow> = {};
  for (const [name, write] of files) {
    const file = join(folder, name);
    write(file);
    syncPath(file);
    rows[name] = { bytes: statSync(file).size, sha256: sha256OfFile(file) };
  }
  return rows;
}

function commit(temporary: string, path: string, files: Record<string, FileRow>): void {
  replaceFile(join(temporary, MANIFEST), `${JSON.stringify({ formatVersion: 1, files }, undefined, 2)}\n`);
  // Left over only if the same step is saved twice; a rename cannot replace a folder with files in it.
  rmSync(path, { recursive: true, force: true });
  renameSync(temporary, path);
  syncPath(dirname(path), 'folder');
}

function explained<T>(path: string, body: () => T): T {
  try {
    return body();
  } catch (error) {
    throw new TrainingError(
      'CHECKPOINT_WRITE',
      `Could not write the checkpoint ${path} (${(error as Error).message}): free some space or fix the folder, then run ` +
        'the same command again; it goes on from the checkpoint before.',
      { cause: error },
    );
  }
}

/**
 * Whole checkpoints, oldest first. What is cut short or damaged is removed and named in `warnings`; what cannot be read now,
 * or belongs to a newer program, is left alone and ends this with an error.
 */
export function findCheckpoints(folder: string): { checkpoints: Checkpoint[]; warnings: string[] } {
  const checkpoints: Checkpoint[] = [];
  const warnings: string[] = [];
  if (!existsSync(folder)) return { checkpoints, warnings };
  for (const name of readdirSync(folder)) {
    const path = join(folder, name);
    if (name.startsWith(TEMPORARY)) {
      // The ordinary trace of a kill: nothing to warn about.
      rmSync(path, { recursive: true, force: true });
      continue;
    }
    const step = /^step-(\d{7,})$/.exec(name)?.[1];
    if (step === undefined) continue;
    const problem = problemOf(path);
    if (problem === undefined) {
      checkpoints.push({ step: Number(step), path });
    } else {
      warnings.push(`The checkpoint ${path} is not whole (${problem}); it was removed.`);
      rmSync(path, { recursive: true, force: true });
    }
  }
  checkpoints.sort((a, b) => a.step - b.step);
  return { checkpoints, warnings };
}

/** Removes all but the newest `keep` checkpoints. */
export function pruneCheckpoints(folder: string, keep: number): void {
  const names = readdirSync(folder).filter((name) => /^step-\d{7,}$/.test(name));
  names.sort((a, b) => Number(a.slice(5)) - Number(b.slice(5)));
  for (const name of names.slice(0, -keep)) {
    // The manifest goes first: a removal cut short leaves a folder that nobody trusts.
    rmSync(join(folder, name, MANIFEST), { force: true });
    rmSync(join(folder, name), { recursive: true, force: true });
  }
}

/** Why a folder is not a whole checkpoint, or undefined when it is. */
function problemOf(path: string): string | undefined {
  let manifest: z.output<typeof manifestSchema>;
  try {
    const content: unknown = JSON.parse(readFileSync(join(path, MANIFEST), 'utf8'));
    requireKnownVersion(content, path);
    manifest = manifestSchema.parse(content);
  } catch (error) {
    if (error instanceof TrainingError) throw error;
    if (error instanceof SyntaxError || error instanceof z.ZodError) return `${MANIFEST} is damaged`;
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return `no ${MANIFEST}`;
    throw new TrainingError(
      'CHECKPOINT_READ',
      `The checkpoint ${path} cannot be read now (${message}): mend that, and run the same command again.`,
      { cause: error },
    );
  }
  for (const [name, { bytes, sha256 }] of Object.entries(manifest.files)) {
    const file = join(path, name);
    const found = statSync(file, { throwIfNoEntry: false });
    if (found === undefined) return `no ${name}`;
    if (found.size !== bytes) return `${name}: expected ${bytes} bytes, got ${found.size}`;
    if (sha256OfFile(file) !== sha256) return `${name}: its SHA-256 differs from the manifest's`;
  }
  return undefined;
}

function requireKnownVersion(content: unknown, path: string): void {
  const version = (content as { formatVersion?: unknown } | null)?.formatVersion;
  if (typeof version !== 'number' || version <= 1) return;
  throw new TrainingError(
    'CHECKPOINT_READ',
    `The checkpoint ${path} has format version ${version}, this program reads 1: update Tessera, or choose another folder.`,
  );
}

function removeQuietly(path: string): void {
  try {
    rmSync(path, { recursive: true, force: true });
  } catch {
    // The error that led here is the one to report; findCheckpoints removes what is left.
  }
}
