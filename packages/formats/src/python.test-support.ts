/**
 * Python's own libraries as a second opinion, where they are at hand. A test that finds them missing says so in
 * one line and passes: the formats are also held to fixed bytes elsewhere.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Runs `body` with a fresh folder if Python can import all `modules`; otherwise prints one line. */
export function withPython(modules: readonly string[], body: (python: Python) => void): void {
  const missing = modules.filter((module) => !canImport(module));
  if (missing.length > 0) {
    console.log(`cross-check skipped: Python cannot import ${missing.join(', ')}`);
    return;
  }
  const folder = mkdtempSync(join(tmpdir(), 'tessera-formats-'));
  try {
    body({ folder, path: (name) => join(folder, name), run: (script) => run(script, folder) });
  } finally {
    rmSync(folder, { recursive: true });
  }
}

export interface Python {
  readonly folder: string;
  path(name: string): string;
  /** Runs a script in the folder and returns what it printed; throws with its error output. */
  run(script: string): string;
}

const known = new Map<string, boolean>();

function canImport(module: string): boolean {
  const answer = known.get(module) ?? spawnSync('python3', ['-c', `import ${module}`]).status === 0;
  known.set(module, answer);
  return answer;
}

function run(script: string, folder: string): string {
  const { status, stdout, stderr } = spawnSync('python3', ['-c', script], { cwd: folder, encoding: 'utf8' });
  if (status !== 0) throw new Error(`Python failed:\n${stderr}`);
  return stdout;
}
