/** The report of an evaluation: numbers, samples by class, nearest reference pictures, curves, and other results beside it. */

import { readFileSync } from 'node:fs';
import { parseConfig } from '@tessera/schedule';
import { noGrad, scope, type Tensor } from '@tessera/torch';
import { z } from 'zod';
import { gridPng } from '../../data/contact-sheet.ts';
import type { RgbImage } from '../../data/image.ts';
import { toRgbImages } from '../decode-tokens.ts';
import type { EvaluationResult, Run } from '../evaluate.ts';
import type { ReportContent, ReportImage, ReportSection } from '../report.ts';
import { FeatureStore } from './feature-store.ts';
import type { ImageSet } from './image-set.ts';
import type { MetricValue } from './measure.ts';

const COLUMNS = 8;
const ROWS = 8;
const NEIGHBOURS = 3;

export interface ReportPictures {
  samples: ReportImage[];
  neighbours: ReportImage[];
}

/** A grid of samples, a row a class where classes are known, and samples beside the nearest pictures of the reference. */
export async function reportPictures(
  images: ImageSet,
  run: Run,
  reference: FeatureStore | undefined,
): Promise<ReportPictures> {
  const chosen = gridIndices(images);
  const shown = await picturesOf(images, chosen);
  const samples = await image(shown, COLUMNS, images.labels === undefined ? 'samples' : 'samples, sorted by class');
  const others = run.reference.images;
  if (others === undefined || reference === undefined) return { samples: [samples], neighbours: [] };
  const some = chosen.filter((_, i) => i % COLUMNS === 0).slice(0, ROWS);
  const store = new FeatureStore(run.work, images, run.extractor, run.protocol);
  const nearest = noGrad(() =>
    scope(() => {
      const [own, all] = [store.pool(), reference.pool()];
      return some.map((index) => nearestOf(own.narrow(0, index, 1), all));
    }),
  );
  const tiles: RgbImage[] = [];
  for (const [i, index] of some.entries()) {
    tiles.push(...(await picturesOf(images, [index])), ...(await picturesOf(others, nearest[i]!)));
  }
  const { width, height } = tiles[0]!;
  if (tiles.some((tile) => tile.width !== width || tile.height !== height))
    return { samples: [samples], neighbours: [] };
  return { samples: [samples], neighbours: [await image(tiles, NEIGHBOURS + 1, 'sample, then the nearest')] };
}

/** The nearest few by taking the nearest out of what is left. */
function nearestOf(row: Tensor, all: Tensor): number[] {
  const distances = all.sub(row).square().sum([1]);
  return distances.topk(Math.min(NEIGHBOURS, all.size(0)), 0, false)[1].toNumbers();
}

async function picturesOf(images: ImageSet, indices: readonly number[]): Promise<RgbImage[]> {
  const pictures: RgbImage[] = [];
  for (const index of indices) {
    const batch = await images.read(index, 1);
    pictures.push(...rgbImages(batch));
    batch.dispose();
  }
  return pictures;
}

function rgbImages(batch: Tensor): RgbImage[] {
  if (batch.dtype !== 'uint8') return toRgbImages(batch);
  const [, height, width] = batch.shape as [number, number, number, number];
  return [{ width, height, data: new Uint8Array(batch.toBytes()) }];
}

/** Up to 8 of each of up to 8 classes, evenly chosen; without labels evenly over all. */
function gridIndices({ count, labels }: ImageSet): number[] {
  const evenly = (from: readonly number[], most: number): number[] =>
    from.length <= most
      ? [...from]
      : Array.from({ length: most }, (_, i) => from[Math.floor((i * from.length) / most)]!);
  const all = Array.from({ length: count }, (_, i) => i);
  if (labels === undefined) return evenly(all, COLUMNS * ROWS);
  const classes = evenly(
    [...new Set(labels)].sort((a, b) => a - b),
    ROWS,
  );
  return classes.flatMap((label) =>
    evenly(
      all.filter((i) => labels[i] === label),
      COLUMNS,
    ),
  );
}

async function image(pictures: readonly RgbImage[], columns: number, caption: string): Promise<ReportImage> {
  const scale = Math.max(1, Math.round(64 / pictures[0]!.width));
  return { caption, mime: 'image/png', bytes: await gridPng(pictures, { columns, scale }) };
}

export function evaluationReport(
  result: EvaluationResult,
  compare: readonly string[],
  { samples, neighbours }: ReportPictures,
): ReportContent {
  const { protocol, extractor, source, reference, metrics, warnings, sweep } = result;
  const sections: ReportSection[] = [
    {
      heading: 'Metrics',
      paragraphs: warnings,
      tables: [
        {
          header: ['metric', 'value', '95 % interval', 'how'],
          rows: Object.entries(metrics).map(([name, m]) => [name, shown(m.value), interval(m), m.note ?? '']),
        },
      ],
    },
    { heading: 'Samples', images: samples },
  ];
  if (sweep !== undefined) sections.push(sweepSection(sweep));
  if (neighbours.length > 0) {
    const paragraphs = ['Under the features of the extractor. A copy beside its original means memorisation.'];
    sections.push({ heading: 'Nearest pictures of the reference', paragraphs, images: neighbours });
  }
  if (compare.length > 0) sections.push(comparison(result, compare.map(readResult)));
  return {
    title: `Evaluation of ${source.path}`,
    summary: [
      ['protocol', protocol],
      ['images', `${source.numImages} (${source.kind})`],
      ['reference', `${reference.path} (${reference.kind})`],
      ['SHA-256 of the reference', reference.sha256.slice(0, 16)],
      ['extractor', extractor.name],
    ],
    sections,
  };
}

function sweepSection({ setting, points, best }: NonNullable<EvaluationResult['sweep']>): ReportSection {
  const names = Object.keys(points[0]!.metrics);
  return {
    heading: `Sweep of ${setting}`,
    paragraphs: [`The best value is ${best}; the metrics above are of it.`],
    charts: names.map((name) => ({
      title: name,
      series: [{ name, points: points.map(({ value, metrics }) => [value, metrics[name]!.value] as const) }],
      xLabel: setting,
      yLabel: name,
    })),
    tables: [
      {
        header: [setting, ...names],
        rows: points.map(({ value, metrics }) => [value, ...names.map((name) => shown(metrics[name]!.value))]),
      },
    ],
  };
}

/** Results side by side; where protocol or reference differ, that is said instead of hidden. */
function comparison(own: EvaluationResult, others: readonly EvaluationResult[]): ReportSection {
  const all = [own, ...others];
  const names = [...new Set(all.flatMap(({ metrics }) => Object.keys(metrics)))];
  const alike = others.every(
    ({ protocol, reference, extractor }) =>
      protocol === own.protocol &&
      reference.sha256 === own.reference.sha256 &&
      extractor.sha256 === own.extractor.sha256,
  );
  return {
    heading: 'Beside other results',
    paragraphs: alike ? [] : ['Protocol, extractor or reference differ between them: the numbers are not comparable.'],
    tables: [
      {
        header: ['what', 'protocol', 'images', ...names],
        rows: all.map(({ source, protocol, metrics }) => [
          source.path,
          protocol,
          source.numImages,
          ...names.map((name) => (metrics[name] === undefined ? '' : shown(metrics[name].value))),
        ]),
      },
    ],
  };
}

const metricSchema = z.object({
  value: z.number(),
  low: z.number().optional(),
  high: z.number().optional(),
  note: z.string().optional(),
});
const resultSchema = z.looseObject({
  formatVersion: z.literal(1),
  protocol: z.string(),
  extractor: z.looseObject({ name: z.string(), sha256: z.string() }),
  source: z.looseObject({ path: z.string(), numImages: z.number() }),
  reference: z.looseObject({ path: z.string(), sha256: z.string() }),
  metrics: z.record(z.string(), metricSchema),
});

function readResult(path: string): EvaluationResult {
  return parseConfig(resultSchema, JSON.parse(readFileSync(path, 'utf8')), path) as unknown as EvaluationResult;
}

/** A Markdown table, a result a row. */
export function markdownTable(results: readonly EvaluationResult[]): string {
  const names = [...new Set(results.flatMap(({ metrics }) => Object.keys(metrics)))];
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((text) => text.replaceAll('|', '\\|')).join(' | ')} |`;
  const rows = results.map(({ source, protocol, reference, metrics }) =>
    line([
      source.path,
      protocol,
      String(source.numImages),
      reference.sha256.slice(0, 16),
      ...names.map((name) => (metrics[name] === undefined ? '' : withInterval(metrics[name]))),
    ]),
  );
  const header = ['what', 'protocol', 'images', 'reference', ...names];
  return `${[line(header), line(header.map(() => '---')), ...rows].join('\n')}\n`;
}

export function withInterval(metric: MetricValue): string {
  const range = interval(metric);
  return range === '' ? shown(metric.value) : `${shown(metric.value)} (${range})`;
}

function interval({ low, high }: MetricValue): string {
  return low === undefined || high === undefined ? '' : `${shown(low)} to ${shown(high)}`;
}

function shown(value: number): string {
  return Number.isFinite(value) ? String(Number(value.toPrecision(5))) : String(value);
}
