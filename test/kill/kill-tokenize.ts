/**
 * `tessera tokenize` under `kill -9`: a folder of pictures, one of them broken, made into tokens once undisturbed and once
 * in two shares that are killed again and again, each gone on with by the same command. All files must be equal, byte for
 * byte.
 */

import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { Draws } from '@tessera/schedule';
import { manualSeed, saveSafetensors } from '@tessera/torch';
import { encodePng, initialise, LlamaGenVq, type PipelineEvent, vqPreset } from 'tessera';
import { expect } from 'vitest';

const BIN = join(import.meta.dirname, '../../packages/tessera/bin/tessera.js');
const SIZE = 32;
const NUM_IMAGES = 90;
const BROKEN = 33;

export async function expectSameTokensAfterKills(numKills: number, seed: number): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'tessera tokenize kill '));
  try {
    const images = join(folder, 'images');
    await writeImages(images);
    const weights = join(folder, 'vq-small.safetensors');
    writeWeights(weights);
    const command = (out: string, share: string): string[] => {
      const made = ['--tokenizer', 'vq-small', '--tokenizer-weights', weights, '--size', String(SIZE), '--flip'];
      const work = ['--batch', '4', '--workers', '2', '--threads', '1', '--shard', share];
      return ['tokenize', images, '--out', out, ...made, ...work, '--json'];
    };
    const undisturbed = join(folder, 'undisturbed');
    await run(command(undisturbed, '0/1'));
    const killed = join(folder, 'killed');
    const draws = new Draws(seed, 0, 0, 0);
    for (const share of ['0/2', '1/2']) {
      for (let kill = 0; kill < numKills; kill++) {
        // After some images of this start, or while it lists, opens, merges; then some milliseconds into what comes.
        await run(command(killed, share), { afterImages: draws.integer(12), delay: draws.integer(60) });
      }
      await run(command(killed, share));
    }
    const files = readdirSync(undisturbed);
    expect(readdirSync(killed).sort()).toEqual(files.sort());
    for (const file of files) {
      const [a, b] = [undisturbed, killed].map((out) => readFileSync(join(out, file)));
      expect(a!.equals(b!), `${file} after ${2 * numKills} kills`).toBe(true);
    }
    const [a, b] = [undisturbed, killed].map((out) => readFileSync(`${out}.broken.jsonl`, 'utf8'));
    expect(b).toBe(a);
    expect(existsSync(`${killed}.work`)).toBe(false);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function writeImages(root: string): Promise<void> {
  const draws = new Draws(7, 0, 0, 0);
  for (let i = 0; i < NUM_IMAGES; i++) {
    const path = join(root, `class-${i % 3}`);
    mkdirSync(path, { recursive: true });
    const data = Uint8Array.from({ length: 40 * 36 * 3 }, (_, at) => (at % 200) + draws.integer(56));
    const bytes = i === BROKEN ? 'no picture' : await encodePng({ width: 40, height: 36, data });
    writeFileSync(join(path, `${i}.png`), bytes);
  }
}

function writeWeights(path: string): void {
  manualSeed(2);
  const tokenizer = initialise((p) => new LlamaGenVq(vqPreset('vq-small'), p));
  saveSafetensors(path, [...tokenizer.state]);
  tokenizer.dispose();
}

/** Runs to the end, or kills `delay` ms after so many images of this start. */
function run(args: readonly string[], kill?: { afterImages: number; delay: number }): Promise<void> {
  const child = spawn(process.execPath, [BIN, ...args]);
  let errors = '';
  let first: number | undefined;
  let waiting = false;
  child.stderr.on('data', (chunk: Buffer) => {
    errors += chunk.toString();
  });
  createInterface({ input: child.stdout }).on('line', (line) => {
    const event = JSON.parse(line) as PipelineEvent;
    if (kill === undefined || waiting) return;
    if (event.kind === 'progress' && event.stage === 'tokens') first ??= event.done;
    const images = event.kind === 'progress' && first !== undefined ? event.done - first : 0;
    if (images < kill.afterImages) return;
    waiting = true;
    setTimeout(() => child.kill('SIGKILL'), kill.delay);
  });
  return new Promise((resolve, reject) => {
    child.on('close', (code) => {
      if (code === 0 || (waiting && code === null)) resolve();
      else reject(new Error(`tokenize ended with ${code}: ${errors}`));
    });
  });
}
