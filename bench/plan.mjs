// `node bench/plan.mjs RESULTS.json`, with what `npm run bench -- distributed --json` has printed: the tables of docs/planning.md.
// First the model of a step (training/step-cost.ts) against the machine that was measured, then fleets of GPUs, whose speeds
// are assumed; what is kept of the measurement is how fast rows are read and checkpoints written.

import { readFileSync } from 'node:fs';
import { levelCost, modelPreset, parameterShapes } from 'tessera';
import { enatSetupMacs, enatStepMacs } from '../packages/tessera/dist/models/nat-macs.js';
import { familyOf } from '../packages/tessera/dist/models/registry.js';
import { fitMachine, stepCost } from '../packages/tessera/dist/training/step-cost.js';

const [path] = process.argv.slice(2);
if (path === undefined) {
  process.stderr.write('plan: expected a file with what "npm run bench -- distributed --json" prints\n');
  process.exit(1);
}
const measured = JSON.parse(readFileSync(path, 'utf8'));

/** Of the AdamW row of docs/benchmarks.md: 33.5 million parameters in 31.7 ms. */
const CPU_MEMORY = (28 * 33.5e6) / 31.7e-3;
/** Mean of Beta(12, 3). */
const MASK_RATIO = 0.8;

/** Parameters, tensors and multiply-accumulates of a preset's training pass of one image. */
function workOf(preset) {
  const { family, config } = modelPreset(preset);
  const { shapes, numParameters } = parameterShapes((p) => familyOf(family).construct(config, p));
  const seqLen = config.gridSize ** 2;
  const masked = Math.round(MASK_RATIO * seqLen);
  const macs =
    family === 'gpt'
      ? levelCost(config, 1).macs
      : enatStepMacs(config, { masked, fresh: seqLen - masked, reused: 0 }).computed + enatSetupMacs(config);
  return { parameters: numParameters, tensors: shapes.size, macs };
}

const nano = workOf('enat-nano');
const { rowsPerSecond } = measured;
const machine = fitMachine(measured, nano.macs, { memoryBytesPerSecond: CPU_MEMORY, rowsPerSecond, hidden: 0 });

/** The rank's rows are longer there, 256 tokens: reading is not in the measured step, which has its tokens in memory. */
const atHand = {
  ...machine,
  rowsPerSecond: Number.POSITIVE_INFINITY,
  checkpointBytesPerSecond: Number.POSITIVE_INFINITY,
};
const predicted = (ranks) =>
  stepCost(nano, atHand, { ranks, globalBatch: measured.steps.batch, sharding: 'none', checkpointEvery: 1 }).total;

/** Eight H100 a machine. What is assumed of them is said in docs/planning.md. */
const GPU = {
  macsPerSecond: (0.35 * 989e12) / 2,
  memoryBytesPerSecond: 0.8 * 3.35e12,
  ranksPerMachine: 8,
  inside: { bytesPerSecond: 0.8 * 450e9, startSeconds: 10e-6 },
  between: { bytesPerSecond: 0.8 * 8 * 50e9, startSeconds: 20e-6 },
  hidden: 0.85,
  rowsPerSecond,
  checkpointBytesPerSecond: machine.checkpointBytesPerSecond,
};
const ETHERNET = { ...GPU, between: { bytesPerSecond: 0.8 * 12.5e9, startSeconds: 50e-6 } };

const digits = (value) => (value >= 100 ? String(Math.round(value)) : String(Number(value.toPrecision(3))));
const ms = (seconds) => digits(1000 * seconds);
const table = (rows) => [rows[0], rows[0].map(() => '---'), ...rows.slice(1)].map((row) => `| ${row.join(' | ')} |`).join('\n'); // biome-ignore format: one row

function fleetTable(preset, globalBatch, sharding, fleet) {
  const work = workOf(preset);
  const rows = [8, 64, 512].map((ranks) => {
    const cost = stepCost(work, fleet, { ranks, globalBatch, sharding, checkpointEvery: 1000 });
    const { compute, optimizer, exchange, visibleExchange, input, checkpoint, total, imagesPerSecond, efficiency } =
      cost;
    const terms = [compute, optimizer, exchange, visibleExchange, input, checkpoint, total].map(ms);
    return [String(ranks), ...terms, digits(imagesPerSecond), `${Math.round(100 * efficiency)} %`];
  });
  const header = ['GPUs', 'compute', 'optimizer', 'exchange', 'of it seen', 'input', 'checkpoint', 'step', 'images/s', 'computing']; // biome-ignore format: one row
  return table([header, ...rows]);
}

const network = (fleet) => (fleet === GPU ? '400 Gbit/s a GPU' : '100 Gbit/s a machine');
const sections = [
  table([
    ['fitted on this machine', 'value'],
    ['multiply-accumulates a second of a rank', `${digits(machine.macsPerSecond / 1e9)} G`],
    ['all-reduce: bytes a second', `${digits(machine.inside.bytesPerSecond / 1e6)} M`],
    ['all-reduce: start', `${ms(machine.inside.startSeconds)} ms`],
    ['checkpoint: bytes a second', `${digits(machine.checkpointBytesPerSecond / 1e6)} M`],
    ['rows of 256 tokens read a second', digits(rowsPerSecond)],
  ]),
  table([
    [`a step of enat-nano, batch ${measured.steps.batch}`, 'predicted', 'measured'],
    ['one process', `${ms(predicted(1))} ms`, `${ms(measured.steps.processor.alone)} ms`],
    ['two processes', `${ms(predicted(2))} ms`, `${ms(measured.steps.processor.shared)} ms`],
  ]),
  ...[GPU, ETHERNET].flatMap((fleet) => [
    `ENAT-L, batch 2048, all weights on every GPU, ${network(fleet)}, milliseconds:`,
    fleetTable('enat-l', 2048, 'none', fleet),
    `GPT-3B, batch 512, a piece of every weight on each GPU, ${network(fleet)}, milliseconds:`,
    fleetTable('gpt-3b', 512, 'parameters', fleet),
  ]),
];
process.stdout.write(`${sections.join('\n\n')}\n`);
