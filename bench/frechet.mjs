// What 50,000 × 2048 features cost: their statistics with all of them in memory, as an evaluation holds them, the Fréchet
// distance, and the peak of memory.
//
//   node bench/frechet.mjs [--scipy]
//
// With --scipy the distance is also taken by SciPy's sqrtm (python3 with numpy and scipy), one run each.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { encodeNpz } from '@tessera/formats';
import { manualSeed, randn, scope } from '@tessera/torch';
import { frechetDistance, statisticsOf } from 'tessera';
import { describeMachine, machine } from './machine.mjs';

const [COUNT, DIM] = [50_000, 2048];
manualSeed(1);
console.log(describeMachine(machine()));

const features = randn([COUNT, DIM]).relu_();
const reference = statisticsOf(
  randn([3 * DIM, DIM])
    .mul_(1.1)
    .relu_(),
);
const samples = measured('statistics of 50,000 × 2048 features', () => statisticsOf(features));
const distance = measured('Fréchet distance', () => frechetDistance(samples, reference));
console.log(`distance ${distance}, peak ${Math.round(process.resourceUsage().maxRSS / 1024)} MB`);
if (process.argv.includes('--scipy')) scipy();

function measured(what, body) {
  const before = performance.now();
  const cpu = process.cpuUsage();
  const result = scope(body);
  const { user, system } = process.cpuUsage(cpu);
  const seconds = ((performance.now() - before) / 1000).toFixed(1);
  console.log(`${what}: ${seconds} s, ${((user + system) / 1e6).toFixed(1)} s of processor time`);
  return result;
}

function scipy() {
  const folder = mkdtempSync(join(tmpdir(), 'frechet-'));
  const array = (x) => ({ dtype: 'float64', shape: x.shape, data: x.toTypedArray() });
  const arrays = [samples, reference].flatMap(({ mean, covariance }, i) => [
    [`m${i}`, array(mean)],
    [`s${i}`, array(covariance)],
  ]);
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
