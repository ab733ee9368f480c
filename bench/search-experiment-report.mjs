// Table and plot of what bench/search-experiment.mjs has measured so far, into docs/experiments.md and docs/images. Rows that
// are not measured yet are said to be missing. What was measured is kept in docs/search-experiment.json, block by block where the
// blocks are at hand and rounded where they are not, so that a run on another machine may bring rows of its own.
//
//   node bench/search-experiment-report.mjs [--from runs/search-experiment] [--record FILE] [--page FILE] [--plot FILE]

import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const inRepository = (path) => fileURLToPath(new URL(`../${path}`, import.meta.url));
const { values: options } = parseArgs({
  options: {
    from: { type: 'string' },
    record: { type: 'string', default: inRepository('docs/search-experiment.json') },
    page: { type: 'string', default: inRepository('docs/experiments.md') },
    plot: { type: 'string', default: inRepository('docs/images/search-experiment.svg') },
  },
});

/** Of Student's t for 7 degrees of freedom, two-sided 95 %: eight blocks. */
const T_95 = 2.365;
const STEPS = [4, 8];
const SEEDS = [0, 1, 2];
const FOR_ALL_SEEDS = ['start', 'cosine', 'cosine, guided'];
const BASELINES = ['baseline, best', 'baseline, last'];
const SEARCHED = ['ours, first', 'ours', ...BASELINES];
const COLOURS = {
  start: '#666666',
  cosine: '#b8860b',
  'cosine, guided': '#c05020',
  'ours, first': '#90caf9',
  ours: '#1565c0',
  'baseline, best': '#8e24aa',
  'baseline, last': '#ce93d8',
};
/** Pixels, so that what drew as many images does not cover one another. */
const BESIDE = { 'ours, first': -4, 'baseline, last': 4 };
const UNPAIRED = '\\*';
const BEGIN = '<!-- bench/search-experiment-report.mjs writes from here -->';
const END = '<!-- to here -->';

const record = existsSync(options.record) ? JSON.parse(readFileSync(options.record, 'utf8')) : {};
if (options.from !== undefined) {
  const measured = JSON.parse(readFileSync(join(options.from, 'experiment.json'), 'utf8'));
  for (const [key, { values }] of Object.entries(measured)) record[key] = { images: imagesOf(key), values };
  writeFileSync(options.record, `${JSON.stringify(record, undefined, 2)}\n`);
}
const rows = STEPS.flatMap((numSteps) => [
  ...FOR_ALL_SEEDS.map((what) => rowOf(numSteps, undefined, what)),
  ...SEEDS.flatMap((seed) => SEARCHED.map((what) => rowOf(numSteps, seed, what))),
]);
const page = readFileSync(options.page, 'utf8');
const [before, rest] = page.split(BEGIN);
const after = rest?.split(END)[1];
if (after === undefined) throw new Error(`${options.page}: expected ${BEGIN} and ${END}`);
writeFileSync(options.page, `${before}${BEGIN}\n\n${markdown()}\n\n${END}${after}`);
if (rows.some(({ value }) => value !== undefined)) writeFileSync(options.plot, plot());
else rmSync(options.plot, { force: true });

/** `value`: mean and half the width of its interval; undefined where it is not measured. */
function rowOf(numSteps, seed, what) {
  const key = keyOf(numSteps, seed, what);
  const { values, value = values && interval(values), images = 0 } = record[key] ?? {};
  return { key, numSteps, seed, what, value, images };
}

function keyOf(numSteps, seed, what) {
  return `T${numSteps} ${seed === undefined ? '' : `seed${seed} `}${what}`;
}

/** Images that the search behind a row drew. */
function imagesOf(key) {
  const [, numSteps, seed, what] = /^T(\d+) (?:seed(\d+) )?(.*)$/.exec(key);
  if (seed === undefined) return 0;
  const evaluations = join(options.from, `T${numSteps}-seed${seed}-${what.split(',')[0]}`, 'evaluations.jsonl');
  const lines = readFileSync(evaluations, 'utf8').trim().split('\n');
  return lines.reduce((sum, line) => sum + JSON.parse(line).numImages, 0);
}

/** Of two rows, as written: block by block where both have blocks, else of the two values, which is said by a star. */
function differenceOf(key, other) {
  const [{ values, value, minus } = {}, { values: others, value: ofOther } = {}] = [record[key], record[other]];
  if (values !== undefined && others !== undefined) return written(interval(values.map((x, i) => x - others[i])));
  const kept = minus?.[other.replace(/^T\d+ (seed\d+ )?/, '')];
  if (kept !== undefined) return written(kept);
  const [a, b] = [value ?? (values && interval(values)), ofOther ?? (others && interval(others))];
  return a === undefined || b === undefined ? '' : `${written([a[0] - b[0], Math.hypot(a[1], b[1])])} ${UNPAIRED}`;
}

function markdown() {
  const header = [
    'T',
    'strategy',
    'seed',
    'images of the search',
    'FD-local',
    '− start',
    '− cosine',
    '− cosine, guided',
    '− baseline, best',
    '− baseline, last',
  ];
  const lines = rows
    .filter(({ value }) => value !== undefined)
    .map(({ key, numSteps, what, seed, images, value }) => {
      const than = (other, ofSeed) => (other === what ? '' : differenceOf(key, keyOf(numSteps, ofSeed, other)));
      return [
        ...[numSteps, what, seed ?? '', images === 0 ? '' : images.toLocaleString('en'), written(value)],
        ...FOR_ALL_SEEDS.map((other) => than(other, undefined)),
        ...BASELINES.map((other) => (what.startsWith('ours') ? than(other, seed) : '')),
      ];
    });
  const missing = rows.filter(({ value }) => value === undefined);
  const noise = STEPS.filter((numSteps) => record[`T${numSteps} noise`] !== undefined).map((numSteps) => {
    const { values, deviation = deviationOf(values) } = record[`T${numSteps} noise`];
    return (
      `The noise of the objective at T = ${numSteps}: one value on 1,000 images, of the start, has a standard deviation of ` +
      `${deviation.toPrecision(2)} over blocks of noise.`
    );
  });
  const image = '![FD-local on held-out noise by the images that the search drew](images/search-experiment.svg)';
  const isUnpaired = lines.some((cells) => cells.some((cell) => String(cell).endsWith(UNPAIRED)));
  const note = `${UNPAIRED} Of the two values, since the blocks of one of them are not kept.`;
  return [
    ...(lines.length === 0 ? [] : [table([header, ...lines]), ...(isUnpaired ? [note] : []), image]),
    ...noise,
    ...(missing.length === 0
      ? []
      : [`**Not measured yet** (${missing.length} of ${rows.length} rows): ${listOf(missing)}.`]),
  ].join('\n\n');
}

function listOf(missing) {
  return STEPS.flatMap((numSteps) => {
    const here = missing.filter((row) => row.numSteps === numSteps);
    if (here.length === 0) return [];
    const names = here.map(({ what, seed }) => (seed === undefined ? what : `${what} of seed ${seed}`));
    const all = here.length === FOR_ALL_SEEDS.length + SEEDS.length * SEARCHED.length;
    return [`T = ${numSteps}: ${all ? 'all' : names.join('; ')}`];
  }).join('. ');
}

/** Columns as wide as their widest cell, as the formatter wants them. */
function table(cells) {
  const widths = cells[0].map((_, column) => Math.max(3, ...cells.map((row) => String(row[column]).length)));
  const line = (row) => `| ${row.map((cell, i) => String(cell).padEnd(widths[i])).join(' | ')} |`;
  return [line(cells[0]), line(widths.map((width) => '-'.repeat(width))), ...cells.slice(1).map(line)].join('\n');
}

/** Mean and half the width of its 95 % interval. */
function interval(values) {
  return [mean(values), (T_95 * deviationOf(values)) / Math.sqrt(values.length)];
}

function written(value) {
  return value === undefined ? '' : `${value[0].toFixed(3)} ± ${value[1].toFixed(3)}`;
}

function mean(values) {
  return values.reduce((sum, x) => sum + x, 0) / values.length;
}

function deviationOf(values) {
  const middle = mean(values);
  return Math.sqrt(values.reduce((sum, x) => sum + (x - middle) ** 2, 0) / (values.length - 1));
}

/** A panel a T: the value on held-out noise by the images that the search drew; lines where nothing was searched. */
function plot() {
  const shown = STEPS.map((numSteps) => rows.filter((row) => row.numSteps === numSteps && row.value !== undefined));
  const panels = shown.map((of, i) => ({ numSteps: STEPS[i], of })).filter(({ of }) => of.length > 0);
  const [width, height] = [440, 400];
  const parts = panels.map(({ numSteps, of }, i) => panel(numSteps, of, { left: i * width, width, height }));
  const total = Math.max(1, panels.length) * width;
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${total} ${height}" font-family="sans-serif" font-size="11">\n` +
    '<title>FD-local on held-out noise by the images that the search drew</title>\n' +
    `<rect width="${total}" height="${height}" fill="#fff"/>\n${parts.join('\n')}\n</svg>\n`
  );
}

function panel(numSteps, of, { left, width, height }) {
  const frame = { x0: left + 52, x1: left + width - 16, y0: 50, y1: height - 44 };
  const values = of.flatMap(({ value: [middle, half] }) => [middle - half, middle + half]);
  // Logarithmic: the unguided cosine is far above all others.
  const [low, high] = [Math.log(0.97 * Math.min(...values)), Math.log(1.03 * Math.max(...values))];
  const [first, last] = [Math.log10(8e3), Math.log10(5e5)];
  const across = (images) => frame.x0 + ((Math.log10(images) - first) / (last - first)) * (frame.x1 - frame.x0);
  const up = (value) => frame.y1 - ((Math.log(value) - low) / (high - low)) * (frame.y1 - frame.y0);
  const text = (x, y, content, more = '') => `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" ${more}>${content}</text>`;
  const line = (x0, y0, x1, y1, more) =>
    `<line x1="${x0.toFixed(1)}" y1="${y0.toFixed(1)}" x2="${x1.toFixed(1)}" y2="${y1.toFixed(1)}" ${more}/>`;
  const svg = [
    text(
      (frame.x0 + frame.x1) / 2,
      18,
      `T = ${numSteps}: FD-local on held-out noise, 95 % intervals`,
      'text-anchor="middle" font-weight="bold"',
    ),
    line(frame.x0, frame.y1, frame.x1, frame.y1, 'stroke="#999"'),
    line(frame.x0, frame.y0, frame.x0, frame.y1, 'stroke="#999"'),
    text((frame.x0 + frame.x1) / 2, height - 10, 'images drawn by the search', 'text-anchor="middle"'),
  ];
  for (const images of [1e4, 3e4, 1e5, 3e5]) {
    svg.push(text(across(images), frame.y1 + 15, images.toLocaleString('en'), 'text-anchor="middle"'));
  }
  for (const share of [0, 0.25, 0.5, 0.75, 1]) {
    const value = Math.exp(low + share * (high - low));
    svg.push(text(frame.x0 - 6, up(value) + 4, value.toFixed(2), 'text-anchor="end"'));
    svg.push(line(frame.x0, up(value), frame.x1, up(value), 'stroke="#eee"'));
  }
  for (const {
    what,
    seed,
    images,
    value: [value, half],
  } of of) {
    const colour = COLOURS[what];
    if (seed === undefined) {
      const [top, bottom] = [up(value + half), up(value - half)];
      svg.push(
        `<rect x="${frame.x0}" y="${top.toFixed(1)}" width="${frame.x1 - frame.x0}" height="${(bottom - top).toFixed(1)}" fill="${colour}" opacity="0.15"/>`,
      );
      svg.push(line(frame.x0, up(value), frame.x1, up(value), `stroke="${colour}" stroke-dasharray="4 3"`));
      svg.push(text(frame.x0 + 4, up(value) - 4, what, `fill="${colour}"`));
      continue;
    }
    // Seeds side by side.
    const x = across(images) + 9 * (seed - 1) + (BESIDE[what] ?? 0);
    svg.push(line(x, up(value - half), x, up(value + half), `stroke="${colour}" stroke-width="1.5"`));
    svg.push(`<circle cx="${x.toFixed(1)}" cy="${up(value).toFixed(1)}" r="3" fill="${colour}"/>`);
  }
  const names = SEARCHED.filter((what) => of.some((row) => row.what === what));
  for (const [i, what] of names.entries()) {
    const x = frame.x0 + ((frame.x1 - frame.x0) / names.length) * i;
    svg.push(text(x, 36, `● ${what}`, `fill="${COLOURS[what]}"`));
  }
  return svg.join('\n');
}
