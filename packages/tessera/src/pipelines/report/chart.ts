/**
 * A line chart as inline SVG that needs no script. Colours are variables of the page, so that one drawing serves light
 * and dark; long curves are thinned to what a screen can show, keeping the extremes of every bucket.
 */

import { escapeHtml } from './escape.ts';
import { type Axis, linearAxis, logAxis } from './ticks.ts';

export interface Series {
  name: string;
  points: readonly (readonly [x: number, y: number])[];
  /** Drawn as bars. */
  intervals?: readonly (readonly [x: number, low: number, high: number])[];
}

export interface Chart {
  title: string;
  series: readonly Series[];
  xLabel: string;
  yLabel: string;
  /** Logarithmic y axis; values that are not above 0 are left out. */
  logY?: boolean;
}

/** In CSS pixels of a card on a wide screen, so that its texts are legible on a phone as well. */
const WIDTH = 460;
const HEIGHT = 260;
const MARGIN = { right: 14, top: 12, bottom: 42 };
/** Room for the y label, and a character of a mark. */
const LABEL_WIDTH = 28;
const CHARACTER_WIDTH = 7;
const BUCKETS = 320;
/** Dots instead of a line's invisible single point. */
const FEW_POINTS = 24;
/** Colours of the style sheet; more series start again. */
const COLOURS = 6;

export function chartSvg(chart: Chart): string {
  const { title, xLabel, yLabel, logY = false } = chart;
  const shows = (x: number, y: number): boolean => Number.isFinite(x) && Number.isFinite(y) && (!logY || y > 0);
  const series = chart.series.map(({ name, points, intervals = [] }) => ({
    name,
    points: points.filter(([x, y]) => shows(x, y)),
    intervals: intervals.filter(([x, low, high]) => shows(x, low) && shows(x, high)),
  }));
  const points = series.flatMap((one) => [
    ...one.points,
    ...one.intervals.flatMap(([x, low, high]) => [[x, low] as const, [x, high] as const]),
  ]);
  const heading = `<figcaption>${escapeHtml(title)}</figcaption>`;
  if (points.length === 0) return `<figure class="chart">${heading}<p class="empty">No values.</p></figure>`;

  const x = linearAxis(...rangeOf(points, 0), 5);
  const y = logY ? logAxis(...rangeOf(points, 1)) : linearAxis(...padded(rangeOf(points, 1)), 5);
  const left = LABEL_WIDTH + CHARACTER_WIDTH * Math.max(...y.ticks.map(({ text }) => text.length), 1);
  const across = (value: number): string => fixed(left + x.place(value) * (WIDTH - left - MARGIN.right));
  const up = (value: number): string =>
    fixed(HEIGHT - MARGIN.bottom - y.place(value) * (HEIGHT - MARGIN.top - MARGIN.bottom));
  const lines = series.map(({ points: own, intervals }, i) => {
    const colour = `series-${i % COLOURS}`;
    return barsSvg(intervals, colour, across, up) + seriesSvg(thinned(own), colour, across, up);
  });
  return [
    `<figure class="chart">${heading}${legend(series.map(({ name }) => name))}`,
    `<svg viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${escapeHtml(`${title}: ${yLabel} by ${xLabel}`)}">`,
    gridSvg(x, y, left, across, up),
    ...lines,
    `<text class="label" x="${(WIDTH + left - MARGIN.right) / 2}" y="${HEIGHT - 6}" text-anchor="middle">${escapeHtml(xLabel)}</text>`,
    `<text class="label" transform="translate(12 ${(HEIGHT - MARGIN.bottom + MARGIN.top) / 2}) rotate(-90)" text-anchor="middle">${escapeHtml(yLabel)}</text>`,
    '</svg></figure>',
  ].join('\n');
}

function legend(names: readonly string[]): string {
  if (names.length < 2) return '';
  const items = names.map((name, i) => `<span><i class="swatch series-${i % COLOURS}"></i>${escapeHtml(name)}</span>`);
  return `<div class="legend">${items.join('')}</div>`;
}

type Place = (value: number) => string;

function gridSvg(x: Axis, y: Axis, left: number, across: Place, up: Place): string {
  const bottom = HEIGHT - MARGIN.bottom;
  const rows = y.ticks.map(
    ({ value, text }) =>
      `<path class="grid" d="M${left} ${up(value)}H${WIDTH - MARGIN.right}"/>` +
      `<text class="tick" x="${left - 7}" y="${up(value)}" dy="0.35em" text-anchor="end">${text}</text>`,
  );
  const columns = x.ticks.map(
    ({ value, text }) =>
      `<path class="grid" d="M${across(value)} ${bottom}v4"/>` +
      `<text class="tick" x="${across(value)}" y="${bottom + 17}" text-anchor="middle">${text}</text>`,
  );
  return [...rows, ...columns, `<path class="axis" d="M${left} ${bottom}H${WIDTH - MARGIN.right}"/>`].join('\n');
}

function seriesSvg(points: Series['points'], colour: string, across: Place, up: Place): string {
  const path = points.map(([x, y], i) => `${i === 0 ? 'M' : 'L'}${across(x)} ${up(y)}`).join('');
  const dots =
    points.length > FEW_POINTS
      ? ''
      : points.map(([x, y]) => `<circle class="${colour}" cx="${across(x)}" cy="${up(y)}" r="2.5"/>`).join('');
  return `<path class="line ${colour}" d="${path}"/>${dots}`;
}

function barsSvg(intervals: NonNullable<Series['intervals']>, colour: string, across: Place, up: Place): string {
  if (intervals.length === 0) return '';
  const path = intervals.map(([x, low, high]) => `M${across(x)} ${up(low)}V${up(high)}`).join('');
  return `<path class="line bar ${colour}" d="${path}"/>`;
}

/** First, lowest, highest and last point of each bucket, in their order. */
function thinned(points: Series['points']): Series['points'] {
  if (points.length <= 4 * BUCKETS) return points;
  const kept: (readonly [number, number])[] = [];
  const size = points.length / BUCKETS;
  for (let bucket = 0; bucket < BUCKETS; bucket++) {
    const part = points.slice(Math.floor(bucket * size), Math.floor((bucket + 1) * size));
    const heights = part.map(([, y]) => y);
    const wanted = new Set([
      0,
      heights.indexOf(heights.reduce((a, b) => Math.min(a, b))),
      heights.indexOf(heights.reduce((a, b) => Math.max(a, b))),
      part.length - 1,
    ]);
    for (const index of [...wanted].sort((a, b) => a - b)) kept.push(part[index]!);
  }
  return kept;
}

function rangeOf(points: Series['points'], axis: 0 | 1): [number, number] {
  let low = Number.POSITIVE_INFINITY;
  let high = Number.NEGATIVE_INFINITY;
  for (const point of points) {
    low = Math.min(low, point[axis]);
    high = Math.max(high, point[axis]);
  }
  return [low, high];
}

function padded([low, high]: [number, number]): [number, number] {
  const room = (high - low) * 0.04;
  return [low - room, high + room];
}

function fixed(value: number): string {
  return String(Number(value.toFixed(1)));
}
