// The parity suite on a device, without vitest: the runners of test/parity (PARITY names the folder of their JavaScript,
// which prepare.sh makes) on the reference values of GOLDEN_DIR, of which only a part may have been carried.
//
//   float32   every case by its manifest's rule, which was set on CPUs; a device adds up in another order, so what fails is
//             judged once more with four times the tolerance, and counted apart
//   bf16      forward passes, losses and gradients under autocast: ‖got - reference‖ / ‖reference‖ of each output, at most
//             0.03, of gradients 0.15
//
//   node bench/gpu/parity.mjs float32|bf16

import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import * as T from '@tessera/torch';
import { useDevice } from 'tessera';
import { device } from './measure.mjs';

const folder = resolve(process.env.PARITY ?? '.gpu/parity');
const load = (name) => import(pathToFileURL(join(folder, name)));
const [{ differences }, { openGoldenSet }, { GoldenReader }, { CaseContext }, { isCovered, runnerOf }] =
  await Promise.all(['compare.js', 'golden-set.js', 'golden-value.js', 'runner.js', 'runners.js'].map(load));

const [mode = 'float32'] = process.argv.slice(2);
const LIMITS = { output: 0.03, gradient: 0.15 };
const IN_BF16 =
  /^(nat-forward|enat-reuse-chain|gpt-forward|npp-forward|t2i-forward|nat-train-loss|enat-train-loss|vq-codec|maskgit-vq-codec)/;
/** Pictures and lists of numbers that no device touches. */
const ON_HOST = /crop|resize|pixel|hash-image|extract|schedule|param-count|state-dict|mask-count|search/;

useDevice(device);
T.setFloat32Precision('ieee');
const totals = { passed: 0, near: 0, failed: 0, absent: 0 };
const worst = new Map();

for (const set of openGoldenSet()) {
  const reader = new GoldenReader(set);
  for (const golden of set.cases) {
    if (!isCovered(golden, set)) continue;
    if (mode === 'bf16' ? !IN_BF16.test(golden.kind) : ON_HOST.test(golden.kind)) continue;
    try {
      T.scope(() => {
        const context = new CaseContext(golden, reader);
        const outputs = inMode(() => runnerOf(golden.kind)(context));
        const wanted = Object.entries(golden.outputs).map(([role, reference]) => ({
          role,
          reference,
          got: outputs[role],
          want: reader.value(reference, golden),
        }));
        if (mode === 'bf16') judgeNorms(set.name, golden, wanted);
        else judgeByManifest(set.name, golden, wanted);
      });
    } catch (error) {
      if (/ENOENT/.test(error.message)) totals.absent++;
      else fail(`${set.name} ${golden.id}: ${String(error.message).split('\n')[0]}`);
    }
  }
}
for (const [kind, off] of worst) console.log(`      ${kind}: largest relative difference ${off.toExponential(1)}`);
const { passed, near, failed, absent } = totals;
console.log(
  `parity ${mode} on ${device}: ${passed} passed, ${near} within four times the tolerance, ${failed} failed, ${absent} not carried`,
);
process.exitCode = failed > 0 || passed === 0 ? 1 : 0;

function inMode(body) {
  return mode === 'bf16' ? T.autocast({ device, dtype: 'bfloat16' }, body) : body();
}

function fail(line) {
  totals.failed++;
  console.log(`FAIL  ${line}`);
}

function judgeByManifest(name, golden, wanted) {
  const problems = (factor) =>
    wanted.flatMap(({ role, got, want, reference }) => differences(role, got, want, wider(reference, factor)));
  const first = problems(1);
  if (first.length === 0) totals.passed++;
  else if (problems(4).length === 0) {
    totals.near++;
    console.log(`near  ${name} ${golden.id}: ${first[0].slice(0, 160)}`);
  } else fail(`${name} ${golden.id}: ${first[0].slice(0, 200)}`);
}

function wider(reference, factor) {
  const { tolerance } = reference;
  if (factor === 1 || tolerance === undefined || typeof tolerance === 'string') return reference;
  const scaled = Object.fromEntries(
    Object.entries(tolerance).map(([key, value]) => [
      key,
      ['abs', 'rel', 'hardAbs'].includes(key) ? factor * value : value,
    ]),
  );
  return { ...reference, tolerance: scaled };
}

function judgeNorms(name, golden, wanted) {
  let compared = 0;
  for (const { role, got, want } of wanted) {
    const limit = /grad/i.test(role) ? LIMITS.gradient : LIMITS.output;
    for (const [place, own, reference] of arrays(role, got, want)) {
      // Ids and counts are not numbers that may be off by a share.
      if (reference.every(Number.isInteger)) continue;
      const norm = Math.sqrt(reference.reduce((sum, x) => sum + x * x, 0));
      const off = Math.sqrt(reference.reduce((sum, x, i) => sum + (x - own[i]) ** 2, 0)) / Math.max(norm, 1e-6);
      const key = `${golden.kind} ${limit === LIMITS.gradient ? 'gradients' : 'outputs'}`;
      compared++;
      worst.set(key, Math.max(worst.get(key) ?? 0, off));
      if (!(off <= limit)) {
        fail(`${name} ${golden.id} ${place}: relative difference ${off.toExponential(1)}, allowed ${limit}`);
        return;
      }
    }
  }
  if (compared > 0) totals.passed++;
}

/** [place, own numbers, reference numbers] of every array of an output. */
function arrays(place, got, want) {
  if (got === undefined) return [];
  if (want.kind === 'map') {
    return [...want.map].flatMap(([key, value]) => arrays(`${place}.${key}`, got.get?.(key) ?? got[key], value));
  }
  const own = got instanceof T.Tensor ? got.toNumbers() : [got].flat(9);
  const reference = want.kind === 'array' ? Array.from(want.array.values) : [want.json].flat(9);
  return own.length === reference.length && typeof own[0] === 'number' ? [[place, own, reference]] : [];
}
