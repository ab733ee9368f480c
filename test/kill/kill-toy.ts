// Kills a training process at random moments until it is done, and compares what it leaves with an undisturbed run's.

import { spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Draws } from '@tessera/schedule';
import { expect } from 'vitest';

const SCRIPT = join(dirname(fileURLToPath(import.meta.url)), 'train-toy.mjs');
const TOTAL_STEPS = 120;

/** Trains twice, once with `kills` kills drawn from `seed`, and expects equal files. */
export async function expectSameAfterKills(kills: number, seed: number): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'tessera kill '));
  try {
    const whole = join(folder, 'whole');
    const killed = join(folder, 'killed');
    await train(whole);
    const draws = new Draws(seed, 0, 0, 0);
    let from = 0;
    for (let kill = 0; kill < kills; kill++) {
      // Late in what is left, so that each start gets somewhere; the delay lands in a step or in a checkpoint.
      const span = Math.max(1, Math.floor((TOTAL_STEPS - from) / (kills - kill + 1)));
      from = await train(killed, { atStep: from + 1 + draws.integer(span), delay: draws.integer(30) });
    }
    await train(killed);
    expect(contentOf(killed)).toEqual(contentOf(whole));
    const steps = readFileSync(join(killed, 'metrics.jsonl'), 'utf8').trim().split('\n');
    expect(new Set(steps).size).toBe(steps.length);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Runs to the end, or until `delay` ms after a step is reported. Returns the last step reported. */
function train(folder: string, kill?: { atStep: number; delay: number }): Promise<number> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [SCRIPT, folder], { stdio: ['ignore', 'pipe', 'pipe'] });
    let last = 0;
    let errors = '';
    let waiting = false;
    child.stderr.on('data', (chunk) => {
      errors += chunk;
    });
    child.stdout.on('data', (chunk: Buffer) => {
      last = Number(chunk.toString().trim().split('\n').at(-1));
      if (kill === undefined || waiting || last < kill.atStep) return;
      waiting = true;
      setTimeout(() => child.kill('SIGKILL'), kill.delay);
    });
    child.on('error', reject);
    child.on('close', (code, signal) => {
      if (code === 0 || (kill !== undefined && signal === 'SIGKILL')) resolve(last);
      else reject(new Error(`The training process ended with ${signal ?? `code ${code}`}: ${errors}`));
    });
  });
}

/** Every file that must be equal: all but what holds times. */
function contentOf(folder: string): Record<string, string> {
  const content: Record<string, string> = {};
  const checkpoints = join(folder, 'checkpoints');
  for (const name of readdirSync(checkpoints).sort()) {
    for (const file of ['model.safetensors', 'ema.safetensors', 'optimizer.safetensors']) {
      content[`${name}/${file}`] = readFileSync(join(checkpoints, name, file)).toString('hex');
    }
  }
  content['metrics.jsonl'] = readFileSync(join(folder, 'metrics.jsonl'), 'utf8');
  content.entries = readdirSync(folder)
    .map((name) => name.replace(/\.\d+\./, '.'))
    .sort()
    .join(' ');
  return content;
}
