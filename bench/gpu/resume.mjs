// Kill and resume on a device: a training that is killed without warning in the middle and started again ends with the
// weights of one that was left alone. On a GPU some sums have no fixed order, so a small difference is allowed and told.
//
//   node bench/gpu/resume.mjs FOLDER

import { spawn } from 'node:child_process';
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { encodeNpy } from '@tessera/formats';
import { loadSafetensors, scope } from '@tessera/torch';
import { device } from './measure.mjs';

const folder = resolve(process.argv[2]);
const STEPS = 24;
const KILL_AT = 15;
const ALLOWED = 1e-3;
const ROWS = 256;
const LENGTH = 64; // enat-nano: 8×8 tokens of 1024 codes
const command = fileURLToPath(new URL('../../packages/tessera/bin/tessera.js', import.meta.url));

mkdirSync(folder, { recursive: true });
const rows = new BigInt64Array(ROWS * (1 + LENGTH));
for (let i = 0; i < rows.length; i++) {
  const [row, column] = [Math.floor(i / (1 + LENGTH)), i % (1 + LENGTH)];
  rows[i] = BigInt(column === 0 ? row % 25 : (row * 37 + column * (1 + (row % 5))) % 1024);
}
const data = join(folder, 'tokens.npy');
writeFileSync(data, encodeNpy({ dtype: 'int64', shape: [ROWS, 1 + LENGTH], data: rows }));

await train('whole');
const reached = await train('killed', KILL_AT);
const checkpoints = readdirSync(join(folder, 'killed', 'checkpoints'));
await train('killed');
const last = `checkpoints/step-${String(STEPS).padStart(7, '0')}`;
let worst = 0;
for (const file of ['model.safetensors', 'ema.safetensors']) {
  scope(() => {
    const [a, b] = ['whole', 'killed'].map((run) => loadSafetensors(join(folder, run, last, file)).tensors);
    for (const [name, tensor] of a) worst = Math.max(worst, tensor.sub(b.get(name)).abs().amax().item());
  });
}
const how = worst === 0 ? 'the same bits' : `largest difference ${worst.toExponential(1)}, allowed ${ALLOWED}`;
console.log(
  `${worst <= ALLOWED ? 'ok   ' : 'FAIL '} killed at step ${reached} with ${checkpoints.join(', ')}, resumed to ${STEPS}: ${how}`,
);
process.exitCode = worst <= ALLOWED ? 0 : 1;

/** Runs to the end, or is killed when it says that it has done `killAt` steps; returns the last step that it said. */
function train(run, killAt) {
  const flags = `--model enat-nano --steps ${STEPS} --global-batch 16 --shard-size 8 --checkpoint-every 4 --warmup-steps 4`;
  const words = [
    'train',
    ...flags.split(' '),
    '--data',
    data,
    '--out',
    join(folder, run),
    '--device',
    device,
    '--json',
  ];
  const child = spawn(process.execPath, [command, ...words], { stdio: ['ignore', 'pipe', 'inherit'] });
  let step = 0;
  createInterface({ input: child.stdout }).on('line', (line) => {
    const event = JSON.parse(line);
    if (event.kind === 'progress') step = event.done;
    if (step >= killAt) child.kill('SIGKILL');
  });
  return new Promise((done, failed) => {
    child.on('error', failed);
    child.on('close', (code, signal) => {
      if (code === 0 || signal === 'SIGKILL') done(step);
      else failed(new Error(`train ended with ${code}`));
    });
  });
}
