// One table of all JSON lines that ours.mjs and baseline.py printed: ours beside eager and compiled PyTorch, and the share
// of the floor, which is the larger of operations over the measured product rate and bytes over the measured copy rate.
//
//   node bench/gpu/report.mjs LOGS FOLDER       reads LOGS/*.jsonl; writes FOLDER/results.json, FOLDER/table.md

import { readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const [logs, folder] = process.argv.slice(2);
const lines = readdirSync(logs)
  .filter((name) => name.endsWith('.jsonl'))
  .flatMap((name) => readFileSync(join(logs, name), 'utf8').split('\n'))
  .flatMap((line) => {
    try {
      return line.startsWith('{') ? [JSON.parse(line)] : [];
    } catch {
      return []; // cut off at a time limit
    }
  });
const best = (field) => Math.max(0, ...lines.map((line) => line[field] ?? 0));
const [flopsPerSecond, bytesPerSecond] = [best('flopsPerSecond'), best('bytesPerSecond')];
const groups = new Map();
for (const line of lines) {
  const key = `${line.part}\t${line.case}`;
  groups.set(key, [...(groups.get(key) ?? []), line]);
}
const of = (group, who) => group.find((line) => line.who === who);
const time = (line) => (line === undefined ? '–' : (line.error?.slice(0, 40) ?? pretty(line.seconds)));
const ratio = (other, own) => (other?.seconds && own?.seconds ? `${(other.seconds / own.seconds).toFixed(2)}×` : '–');

const rows = [...groups.values()].map((group) => {
  const [ours, kept, plain, float32, eager, compile] = [
    'ours',
    'ours, openings kept',
    'ours, no graphs',
    'ours, float32',
    'eager',
    'compile',
  ].map((who) => of(group, who));
  const own = ours?.seconds === undefined ? undefined : ours;
  const floor = own && Math.max((own.flops ?? 0) / flopsPerSecond, (own.bytes ?? 0) / bytesPerSecond);
  const share = floor > 0 && Number.isFinite(floor) ? `${((100 * floor) / own.seconds).toFixed(0)} %` : '–';
  const name =
    group[0].case + (own?.batch ? `, batch ${own.batch}${eager?.batch ? ` (eager ${eager.batch})` : ''}` : '');
  const perImage = (line) => (line?.batch ? { ...line, seconds: line.seconds / line.batch } : line);
  const against = (line) => ratio(perImage(line), perImage(own));
  const peak = own?.peakBytes ? `${(own.peakBytes / 2 ** 30).toFixed(2)} GiB` : '–';
  const published = group[0].published ? group[0].published.map((s) => `${s} s`).join(', ') : '–';
  const cells = [
    name,
    time(ours),
    time(kept),
    time(plain),
    time(float32),
    time(eager),
    time(compile),
    against(eager),
    against(compile),
    share,
    peak,
    published,
  ];
  return `| ${cells.join(' | ')} |`;
});
const head = [
  'case',
  'ours',
  'openings kept',
  'no graphs',
  'float32',
  'eager',
  'compile',
  'eager / ours',
  'compile / ours',
  'of the floor',
  'peak',
  'A100: released, vLLM',
];
const table = [
  `Measured ceilings: ${(flopsPerSecond / 1e12).toFixed(1)} TFLOP/s in bf16 products, ${(bytesPerSecond / 1e9).toFixed(0)} GB/s in copies.`,
  'Ratios of training are per image. For training the share of the floor is the model FLOP utilisation against that rate.',
  '',
  `| ${head.join(' | ')} |`,
  `| ${head.map(() => '---').join(' | ')} |`,
  ...rows,
  '',
].join('\n');
put('table.md', table);
put('results.json', JSON.stringify(lines));

/** The whole file or the one before: this may be ended at any moment. */
function put(name, text) {
  writeFileSync(join(folder, `${name}.new`), text);
  renameSync(join(folder, `${name}.new`), join(folder, name));
}

function pretty(seconds) {
  if (seconds === undefined) return '–';
  if (seconds < 1e-3) return `${(seconds * 1e6).toFixed(2)} µs`;
  return seconds < 1 ? `${(seconds * 1e3).toFixed(2)} ms` : `${seconds.toFixed(2)} s`;
}
