// What 50,000 × 2048 features cost: their statistics with all of them in memory, as an evaluation holds them, the Fréchet
// distance, beside SciPy's matrix root where a Python with it is found, one resample of its interval, and the peak of memory.
//
//   node bench/frechet.mjs [--python /path/to/python3]
//
// Each distance is taken three times, ours and SciPy's (once) in one run; the shortest counts.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { encodeNpz } from '@tessera/formats';
import { manualSeed, randn, scope } from '@tessera/torch';
import { bootstrapRows, frechetDistance, frechetDistanceOfRows, resamplesWithin, statisticsOf } from 'tessera';
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
const distance = measured('Fréchet distance', () => frechetDistance(samples, reference), 3);
console.log(`distance ${distance}, peak ${Math.round(process.resourceUsage().maxRSS / 1024)} MB`);
scope(() => {
  const again = frechetDistanceOfRows(features, reference);
  const [rows] = bootstrapRows(COUNT, 1, 0);
  measured(`one of ${resamplesWithin(COUNT, DIM)} resamples of the interval`, () => again(rows));
});
console.log(`peak with it ${Math.round(process.resourceUsage().maxRSS / 1024)} MB`);
scipy();

/** The shortest of several runs. */
function measured(what, body, runs = 1) {
  let [best, least, result] = [Infinity, Infinity];
  for (let run = 0; run < runs; run++) {
    const before = performance.now();
    const cpu = process.cpuUsage();
    result = scope(body);
    const { user, system } = process.cpuUsage(cpu);
    best = Math.min(best, (performance.now() - before) / 1000);
    least = Math.min(least, (user + system) / 1e6);
  }
  console.log(`${what}: ${best.toFixed(1)} s, ${least.toFixed(1)} s of processor time`);
  return result;
}

function scipy() {
  const at = process.argv.indexOf('--python');
  const python = at === -1 ? 'python3' : process.argv[at + 1];
  if (spawnSync(python, ['-c', 'import scipy.linalg']).status !== 0) {
    console.log(`SciPy: not found by ${python}; --python names one that has it`);
    return;
  }
  const folder = mkdtempSync(join(tmpdir(), 'frechet-'));
  const array = (x) => ({ dtype: 'float64', shape: x.shape, data: x.toTypedArray() });
  const arrays = [samples, reference].flatMap(({ mean, covariance }, i) => [
    [`m${i}`, array(mean)],
    [`s${i}`, array(covariance)],
  ]);
  writeFileSync(join(folder, 'pair.npz'), encodeNpz(arrays));
  const code = [
    'import sys, time, numpy as np, scipy.linalg',
    'p = np.load(sys.argv[1]); t, c = time.time(), time.process_time()',
    'r = scipy.linalg.sqrtm(p["s0"] @ p["s1"]).real',
    'd = ((p["m0"] - p["m1"])**2).sum() + np.trace(p["s0"]) + np.trace(p["s1"]) - 2*np.trace(r)',
    'print(f"SciPy sqrtm: {time.time() - t:.1f} s, {time.process_time() - c:.1f} s of processor time, distance {d}")',
  ];
  spawnSync(python, ['-c', code.join('\n'), join(folder, 'pair.npz')], { stdio: 'inherit' });
  rmSync(folder, { recursive: true });
}
