/** What the report of a fit shows: curves of both trainings from their metrics, and the pictures along the way. */

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Chart } from '../report/chart.ts';
import type { ReportContent, ReportImage, ReportSection } from '../report.ts';
import type { FitPlan } from './plan.ts';

interface Metrics {
  step: number;
  kind: string;
  [name: string]: number | string;
}

export interface ReportInput {
  out: string;
  plan: FitPlan;
  /** Names of the classes that were sampled. */
  shown: readonly string[];
  parameters: { tokenizer: number; generator: number };
  /** Folder with samples of the shipped model, if they were made. */
  shippedSamples: string | undefined;
}

export function fitReport({ out, plan, shown, parameters, shippedSamples }: ReportInput): ReportContent {
  const { tokenizer, generator } = plan;
  const millions = (count: number): string => `${(count / 1e6).toFixed(1)} M parameters`;
  return {
    title: `A generator of ${plan.classes.length === 1 ? plan.classes[0] : `${plan.classes.length} classes`}, ${plan.imageSize} px`,
    summary: [
      ['images', `${plan.numTrain} + ${plan.numHeldOut} held out`],
      ['classes', String(plan.classes.length)],
      ['tokenizer', `${millions(parameters.tokenizer)}, ${tokenizer.mode === 'keep' ? 'kept' : tokenizer.mode}`],
      ['generator', millions(parameters.generator)],
      ['steps', `${generator.training.totalSteps} × ${generator.training.globalBatch} images`],
      ['libtorch', `${plan.torch}, ${plan.threads} ${plan.threads === 1 ? 'thread' : 'threads'}`],
    ],
    sections: [
      samplesSection(out, shown, plan.classes.length),
      trainingSection(out, 'generator', 'Training the generator', [
        { title: 'Loss', names: ['loss'], yLabel: 'cross entropy' },
        { title: 'Token accuracy', names: ['accuracy'], yLabel: 'share' },
      ]),
      ...(tokenizer.training === undefined
        ? [{ heading: 'Tokenizer', paragraphs: [`The shipped tokenizer was kept: ${tokenizer.reason}.`] }]
        : [
            trainingSection(out, 'tokenizer-training', 'Training the tokenizer', [
              { title: 'Loss', names: ['loss'], yLabel: 'loss' },
              { title: 'Held-out reconstruction', names: ['psnr'], yLabel: 'PSNR, dB' },
              { title: 'Codebook in use', names: ['codebookUsage'], yLabel: 'share' },
            ]),
          ]),
      ...(shippedSamples === undefined ? [] : [shippedSection(shippedSamples)]),
    ],
  };
}

function samplesSection(out: string, shown: readonly string[], numClasses: number): ReportSection {
  const some = shown.length < numClasses ? `${shown.length} of ${numClasses} classes. ` : '';
  return {
    heading: 'Samples',
    paragraphs: [`${some}A class a row, in this order: ${shown.join(', ')}.`],
    images: pictures(join(out, 'samples'), ['grid.png', 'reveal.webp'], ['the finished generator', 'step by step']),
  };
}

function shippedSection(folder: string): ReportSection {
  return {
    heading: 'The shipped model, for comparison',
    paragraphs: ['Trained for longer on the same kind of images; its card says how.'],
    images: pictures(folder, ['grid.png', 'reveal.webp'], ['a class a row', 'step by step']),
  };
}

interface ChartOf {
  title: string;
  names: readonly string[];
  yLabel: string;
}

function trainingSection(out: string, run: string, heading: string, charts: readonly ChartOf[]): ReportSection {
  const lines = readMetrics(join(out, run, 'metrics.jsonl'));
  const folder = join(out, run, 'samples');
  const names = existsSync(folder)
    ? readdirSync(folder)
        .filter((name) => name.endsWith('.png'))
        .sort()
    : [];
  return {
    heading,
    charts: charts.map((chart) => chartOf(chart, lines)).filter(({ series }) => series.length > 0),
    images: pictures(
      folder,
      names,
      names.map((name) => `after step ${Number(/\d+/.exec(name)?.[0])}`),
    ),
  };
}

function chartOf({ title, names, yLabel }: ChartOf, lines: readonly Metrics[]): Chart {
  const series = names.flatMap((name) =>
    (['train', 'evaluation'] as const).map((kind) => ({
      name: kind === 'train' ? 'training' : 'held out',
      points: lines
        .filter((line) => line.kind === kind && typeof line[name] === 'number')
        .map((line): [number, number] => [line.step, line[name] as number]),
    })),
  );
  return { title, series: series.filter(({ points }) => points.length > 0), xLabel: 'step', yLabel };
}

function readMetrics(path: string): Metrics[] {
  if (!existsSync(path)) return [];
  const lines = readFileSync(path, 'utf8').split('\n');
  return lines.filter((line) => line !== '').map((line) => JSON.parse(line) as Metrics);
}

function pictures(folder: string, names: readonly string[], captions: readonly string[]): ReportImage[] {
  return names.flatMap((name, i) => {
    const path = join(folder, name);
    if (!existsSync(path)) return [];
    return [
      {
        caption: captions[i]!,
        mime: name.endsWith('.webp') ? ('image/webp' as const) : ('image/png' as const),
        bytes: readFileSync(path),
      },
    ];
  });
}
