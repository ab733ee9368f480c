// `npm run bench -- engine`: what the engine costs. The overhead of one operation shows on tensors of one entry, where
// there is nothing to compute; the matrix product shows that the kernels are libtorch's; the rest is what training and
// tokenizing are made of. Where `python3 -c 'import torch'` works, the same is measured there in turn (engine.py).

import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  loadSafetensors,
  manualSeed,
  noGrad,
  rand,
  randn,
  saveSafetensors,
  scope,
  setNumThreads,
  tensor,
} from '@tessera/torch';
import { initialise, LlamaGenVq, vqPreset } from 'tessera';
import { enatTraining } from './enat-step.mjs';
import { libtorchAlone } from './engine-floor.mjs';
import { networkCases } from './engine-networks.mjs';
import { machine } from './machine.mjs';
import { measure, summary } from './measure.mjs';
import { print } from './print.mjs';
import { startTorch } from './torch-peer.mjs';

/** Operations in one call: a scope around each would be measured too. */
const CHAIN = 1000;
const MATRIX = 1024;
const IMAGES = 64;
const FILE_TENSORS = 64;

export async function bench(options) {
  const progress = (text) => process.stderr.isTTY && process.stderr.write(`\r${text}   `);
  setNumThreads(options.threads);
  manualSeed(0);
  const about = machine();
  const folder = mkdtempSync(join(tmpdir(), 'tessera-bench-'));
  const file = join(folder, 'weights.safetensors');
  const peer = startTorch(options.threads, file);
  try {
    scope(() => {
      const entries = Array.from({ length: FILE_TENSORS }, (_, i) => [`layer.${i}.weight`, randn([256, 1024])]);
      saveSafetensors(file, entries, { format: 'pt' });
    });
    progress('libtorch alone');
    const floor = libtorchAlone();
    progress('engine load');
    const load = loadRow(Math.min(5, options.rounds), peer);
    // First alone: what the networks leave on the heap is not an operation's overhead.
    const rows = await measure(operations(file), options.rounds, peer, progress);
    rows.push(...(await measure([...networkCases(), ...networks()], options.rounds, peer, progress)));
    progress('');
    print(options, {
      name: 'engine',
      machine: about,
      rows: [...rows.slice(0, 3), ...floor, ...rows.slice(3), load],
    });
  } finally {
    peer?.close();
    rmSync(folder, { recursive: true, force: true });
  }
}

function operations(file) {
  const micro = (seconds) => (seconds / CHAIN) * 1e6;
  const short = { unit: 'µs', value: micro, shortest: true };
  const one = tensor([1]);
  const weight = tensor([1]).requiresGrad_();
  const [a, b] = [rand([MATRIX, MATRIX]), rand([MATRIX, MATRIX])];
  const chain = (first) => {
    let x = first;
    for (let i = 0; i < CHAIN; i++) x = x.add(one);
    return x;
  };
  return [
    { name: 'add', ...short, run: () => noGrad(() => scope(() => void chain(one))) },
    { name: 'add, recorded', ...short, run: () => scope(() => void chain(weight)) },
    { name: 'add, recorded and backward', ...short, run: () => scope(() => chain(weight).backward()) },
    {
      name: 'empty scope',
      ...short,
      run: () => {
        for (let i = 0; i < CHAIN; i++) scope(() => undefined);
      },
    },
    {
      name: `matmul ${MATRIX}³`,
      unit: 'GFLOP/s',
      value: (seconds) => (2 * MATRIX ** 3) / seconds / 1e9,
      run: () => scope(() => void a.matmul(b)),
    },
    {
      name: 'safetensors 64 MiB, mapped and read',
      unit: 'ms',
      value: (seconds) => seconds * 1e3,
      run: () => scope(() => [...loadSafetensors(file).tensors.values()].forEach((x) => void x.sum().item())),
    },
  ];
}

function networks() {
  const vq = initialise((p) => new LlamaGenVq(vqPreset('vq-small'), p));
  const images = rand([IMAGES, 3, 32, 32]);
  const tokens = noGrad(() => vq.encode(images));
  const perSecond = (seconds) => IMAGES / seconds;
  return [
    {
      name: `ENAT training step, enat-nano, batch ${IMAGES}`,
      unit: 'ms',
      value: (seconds) => seconds * 1e3,
      run: enatTraining(IMAGES),
    },
    {
      name: 'vq-small encode, 32 px',
      unit: 'images/s',
      value: perSecond,
      run: () => noGrad(() => scope(() => void vq.encode(images))),
    },
    {
      name: 'vq-small decode, 32 px',
      unit: 'images/s',
      value: perSecond,
      run: () => noGrad(() => scope(() => void vq.decode(tokens))),
    },
  ];
}

/** Fresh processes, in turn: from before the import of the engine to the first result, the start of Node left out. */
function loadRow(rounds, peer) {
  const script =
    "const t = performance.now(); const { tensor } = await import('@tessera/torch'); tensor([1]).add(1).item(); console.log(performance.now() - t);";
  const cwd = fileURLToPath(new URL('..', import.meta.url));
  const ours = [];
  const torch = [];
  // One more than reported: the first fills the page cache.
  for (let round = 0; round <= rounds; round++) {
    ours.push(Number(execFileSync(process.execPath, ['--input-type=module', '-e', script], { cwd })));
    if (peer !== undefined) torch.push(peer.loadOnce());
  }
  return {
    name: 'engine load',
    unit: 'ms',
    ours: summary(ours.slice(1)),
    ...(peer === undefined ? {} : { torch: summary(torch.slice(1)) }),
  };
}
