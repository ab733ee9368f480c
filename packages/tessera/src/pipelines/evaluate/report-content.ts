/** The report of an evaluation: numbers, samples by class, nearest reference pictures, curves, and other results beside it. */

import type { Chart } from '../report/chart.ts';
import type { ReportContent, ReportImage, ReportSection } from '../report.ts';
import type { Judgement } from './judge.ts';
import type { ReportPictures } from './report-pictures.ts';
import { type EvaluationResult, interval, metricNames, type StoredResult, shown, withInterval } from './result.ts';

export function evaluationReport(
  result: EvaluationResult,
  others: readonly StoredResult[],
  pictures: ReportPictures,
): ReportContent {
  const { protocol, extractor, source, reference, metrics, warnings, sweep, judge } = result;
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
    sampleSection(pictures),
  ];
  if (sweep !== undefined) sections.push(curveSection(sweep));
  if (judge !== undefined) sections.push(judgeSection(judge));
  sections.push(...memorisationSection(result, pictures));
  if (others.length > 0) sections.push(comparison(result, pictures.samples, others));
  return {
    title: `${source.kind === 'reconstruction' ? 'Reconstruction' : 'Evaluation'} of ${source.path}`,
    summary: [
      ['protocol', protocol],
      ['images', `${source.numImages} (${source.kind})`],
      ...(source.tokenizer === undefined ? [] : [['tokenizer', source.tokenizer] as const]),
      ['reference', `${reference.path} (${reference.kind})`],
      ['SHA-256 of the reference', reference.sha256.slice(0, 16)],
      ['extractor', extractor.name],
    ],
    sections,
  };
}

function sampleSection({ samples, rows }: ReportPictures): ReportSection {
  const paragraphs = rows.length === 0 ? [] : [`From the top: ${rows.join(', ')}.`];
  return { heading: 'Samples', paragraphs, images: [samples] };
}

function curveSection({ setting, points, best }: NonNullable<EvaluationResult['sweep']>): ReportSection {
  const names = Object.keys(points[0]!.metrics);
  return {
    heading: setting === 'step' ? 'Over checkpoints' : `Sweep of ${setting}`,
    paragraphs: [`The best value is ${best}; the metrics and samples above are of it. Bars are 95 % intervals.`],
    charts: names.map((name) => curveChart(name, setting, [{ name, points }])),
    tables: [
      {
        header: [setting, ...names],
        rows: points.map(({ value, metrics }) => [value, ...names.map((name) => shown(metrics[name]!.value))]),
      },
    ],
  };
}

type Points = NonNullable<EvaluationResult['sweep']>['points'];

function curveChart(metric: string, setting: string, curves: readonly { name: string; points: Points }[]): Chart {
  return {
    title: metric,
    series: curves.map(({ name, points }) => {
      const measured = points.flatMap(({ value, metrics }) => {
        const found = metrics[metric];
        return found === undefined ? [] : [{ x: value, ...found }];
      });
      return {
        name,
        points: measured.map(({ x, value }) => [x, value] as const),
        intervals: measured.flatMap(({ x, low, high }) =>
          low === undefined || high === undefined ? [] : [[x, low, high] as const],
        ),
      };
    }),
    xLabel: setting,
    yLabel: metric,
  };
}

function judgeSection({ accuracy, quality, byClass }: Judgement): ReportSection {
  const { heldOutAccuracy, numHeldOut, numTrained, chance } = quality;
  const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;
  return {
    heading: 'Class judge',
    paragraphs: [
      `A linear classifier on the extractor's features, trained on ${numTrained} reference pictures, sees the class that was asked for in ${percent(accuracy)} of the samples. ` +
        `It is right for ${percent(heldOutAccuracy)} of ${numHeldOut} held-out reference pictures, which is what to compare with; always saying the most frequent class would be right for ${percent(chance)}.`,
    ],
    tables: [
      {
        title: 'Classes, the hardest to recognise first',
        header: ['class', 'samples', 'recognised', 'of held-out reference pictures'],
        rows: byClass
          .slice(0, 30)
          .map(({ name, right, count, heldOut }) => [
            name,
            count,
            percent(right / count),
            heldOut === undefined ? '' : percent(heldOut),
          ]),
      },
    ],
  };
}

function memorisationSection({ memorisation }: EvaluationResult, { pairs }: ReportPictures): ReportSection[] {
  if (memorisation === undefined) return [];
  const { generated, unseen, unseenAre, nearer, suspicious } = memorisation;
  const baseline = unseenAre === 'held-out' ? 'held-out pictures' : 'reference pictures, each without itself';
  const row = (name: string, { count, least, p5, median }: typeof generated): (string | number)[] => [
    name,
    count,
    shown(least),
    shown(p5),
    shown(median),
  ];
  const weak =
    unseenAre === 'held-out'
      ? ''
      : ' Without pictures that were never trained on (--held-out) this is a weak check: near-duplicates in the reference hide copies.';
  return [
    {
      heading: 'Nearest pictures of the reference',
      paragraphs: [
        `Is the model copying? A sample is nearer to the reference than one of the ${baseline} with probability ${nearer.toFixed(2)} (0.5: as new as they are; 1: copies), and ${(100 * suspicious).toFixed(1)} % of the samples are nearer than all but 5 % of them (expected: 5 %). Distances are between features.${weak}`,
      ],
      tables: [
        {
          title: 'Distance to the nearest reference picture',
          header: ['of', 'number', 'least', '5 % below', 'median'],
          rows: [row('samples', generated), row(baseline, unseen)],
        },
      ],
      ...(pairs === undefined ? {} : { images: [pairs] }),
    },
  ];
}

/** Results side by side; where protocol or reference differ, that is said instead of hidden. */
function comparison(own: EvaluationResult, samples: ReportImage, others: readonly StoredResult[]): ReportSection {
  const all = [own, ...others.map(({ result }) => result)];
  const labels = ['this one', ...others.map(({ path }) => path)];
  const names = metricNames(all);
  const alike = all.every(
    ({ protocol, reference, extractor, source }) =>
      protocol === own.protocol &&
      reference.sha256 === own.reference.sha256 &&
      extractor.sha256 === own.extractor.sha256 &&
      source.kind === own.source.kind,
  );
  const counts = new Set(all.map(({ source }) => source.numImages)).size === 1;
  const paragraphs = [
    ...(alike
      ? []
      : ['Protocol, extractor, reference or kind of source differ between them: the numbers are not comparable.']),
    ...(counts ? [] : ['The numbers of images differ: Fréchet distances of fewer images are larger.']),
  ];
  const curves = all.flatMap(({ sweep }, i) =>
    sweep !== undefined && sweep.setting === own.sweep?.setting ? [{ name: labels[i]!, points: sweep.points }] : [],
  );
  return {
    heading: 'Beside other results',
    paragraphs,
    tables: [
      {
        header: ['', ...labels],
        rows: [
          ['of', ...all.map(({ source }) => source.path)],
          ['protocol', ...all.map(({ protocol }) => protocol)],
          ['images', ...all.map(({ source }) => String(source.numImages))],
          ...names.map((name) => [
            name,
            ...all.map(({ metrics }) => (metrics[name] === undefined ? '' : withInterval(metrics[name]))),
          ]),
        ],
      },
    ],
    charts: curves.length < 2 ? [] : names.map((name) => curveChart(name, own.sweep!.setting, curves)),
    beside: true,
    images: [
      { ...samples, caption: labels[0]! },
      ...others.flatMap(({ path, samples: bytes }) =>
        bytes === undefined ? [] : [{ caption: path, mime: 'image/png' as const, bytes }],
      ),
    ],
  };
}
