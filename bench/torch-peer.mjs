// The same cases in PyTorch, where it is at hand: one Python process that is asked for one block of a case at a time.

import { spawn, spawnSync } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

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
    close: () => child.stdin.end(),
  };
}
