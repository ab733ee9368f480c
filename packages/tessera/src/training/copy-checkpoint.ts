/** A second place for checkpoints, such as a mounted bucket: a copy that is there whole or not at all. */

import { cpSync, existsSync, mkdirSync, renameSync, rmSync } from 'node:fs';
import { basename, join } from 'node:path';

/** @returns where the copy is */
export function copyCheckpoint(checkpoint: string, target: string): string {
  const copy = join(target, basename(checkpoint));
  const temporary = `${copy}.writing`;
  mkdirSync(target, { recursive: true });
  rmSync(temporary, { recursive: true, force: true });
  cpSync(checkpoint, temporary, { recursive: true });
  rmSync(copy, { recursive: true, force: true });
  renameSync(temporary, copy);
  return copy;
}

/** Copies it unless it is there. */
export function missingCopy(checkpoint: string, target: string): string | undefined {
  return existsSync(join(target, basename(checkpoint))) ? undefined : copyCheckpoint(checkpoint, target);
}
