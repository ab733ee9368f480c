// What 50,000 × 2048 features cost: streaming statistics, and the Fréchet distance, with the peak of memory.
//
//   node bench/frechet.mjs [--scipy]
//
// Features are made block by block, as the evaluation reads them from disk. With --scipy the distance is also taken by
// SciPy's sqrtm (python3 with numpy and scipy), one run each.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { encodeNpz } from '@tessera/formats';
import { getNumThreads, manualSeed, randn, scope } from '@tessera/torch';
import { frechetDistance, RunningStatistics } from 'tessera';

const [COUNT, DIM, BLOCK] = [50_000, 2048, 500];
manualSeed(1);
const mixing = randn([DIM, DIM]).div(Math.sqrt(DIM));

const [first, second] = [measured('statistics of 50,000 × 2048 features', () => statistics(0)), statistics(0.02)];
const distance = measured('Fréchet distance', () => frechetDistance(first, second));
console.log(
  `threads ${getNumThreads()}, distance ${distance}, peak ${Math.round(process.resourceUsage().maxRSS / 1024)} MB`,
);
if (process.argv.includes('--scipy')) scipy();

function statistics(shift) {
  const running = new RunningStatistics(DIM);
  for (let done = 0; done < COUNT; done += BLOCK) {
    scope(() => running.add(randn([BLOCK, DIM]).mm(mixing).add(shift).relu()));
  }
  return running.result();
}

function measured(what, body) {
  const before = performance.now();
  const result = body();
  console.log(`${what}: ${((performance.now() - before) / 1000).toFixed(1)} s`);
  return result;
}

function scipy() {
  const folder = mkdtempSync(join(tmpdir(), 'frechet-'));
  const arrays = [first, second].flatMap(({ mean, covariance }, i) =>
    [mean, covariance].map((x, j) => [`${'ms'[j]}${i}`, { dtype: 'float64', shape: x.shape, data: x.toTypedArray() }]),
  );
  writeFileSync(join(folder, 'pair.npz'), encodeNpz(arrays));
  const code = [
    'import sys, time, numpy as np, scipy.linalg',
    'p = np.load(sys.argv[1]); t = time.time()',
    'r = scipy.linalg.sqrtm(p["s0"] @ p["s1"]).real',
    'd = ((p["m0"] - p["m1"])**2).sum() + np.trace(p["s0"]) + np.trace(p["s1"]) - 2*np.trace(r)',
    'print(f"SciPy sqrtm: {time.time() - t:.1f} s, distance {d}")',
  ];
  spawnSync('python3', ['-c', code.join('\n'), join(folder, 'pair.npz')], { stdio: 'inherit' });
  rmSync(folder, { recursive: true });
}
