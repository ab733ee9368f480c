// The same cases in PyTorch, where it is at hand: one Python process that is asked for one block of a case at a time.

import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const LOAD =
  'import time; t = time.perf_counter(); import torch; torch.tensor([1.0]).add(1).item(); print(time.perf_counter() - t)';

/** Undefined where `python3 -c 'import torch'` does not work. */
export function startTorch(threads, file) {
  if (spawnSync('python3', ['-c', 'import torch'], { stdio: 'ignore' }).status !== 0) return undefined;
  const script = fileURLToPath(new URL('./engine.py', import.meta.url));
  const child = spawn('python3', [script, String(threads), file], { stdio: ['pipe', 'pipe', 'inherit'] });
  child.stdin.on('error', () => {});
  const answers = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return {
    /** Seconds of one call, or undefined when the case has no counterpart. */
    async seconds(name) {
      child.stdin.write(`${name}\n`);
      const { value, done } = await answers.next();
      if (done) throw new Error('engine.py ended early; its message is above');
      return value === 'none' ? undefined : Number(value);
    },
    /** Milliseconds from before the import to the first result, in a fresh process. */
    loadOnce: () => Number(execFileSync('python3', ['-c', LOAD])) * 1e3,
    close: () => child.stdin.end(),
  };
}
