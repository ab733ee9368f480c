import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { chartSvg } from './report/chart.ts';
import { linearAxis, logAxis } from './report/ticks.ts';
import { type ReportContent, renderReport, writeReport } from './report.ts';

const EVIL = `"><script>alert('1')</script>&\u0000`;

const content: ReportContent = {
  title: EVIL,
  summary: [[EVIL, EVIL]],
  sections: [
    {
      heading: EVIL,
      paragraphs: [EVIL],
      charts: [{ title: EVIL, series: [{ name: EVIL, points: [[0, 1]] }, { name: EVIL, points: [] }], xLabel: EVIL, yLabel: EVIL }], // biome-ignore format: one row
      images: [{ caption: EVIL, mime: 'image/png', bytes: new Uint8Array([1, 2, 3]) }],
      tables: [{ title: EVIL, header: [EVIL, 'n'], rows: [[EVIL, 1]] }],
    },
  ],
};

describe('report', () => {
  it('escapes every text', () => {
    const html = renderReport(content);
    expect(html).not.toContain('<script');
    expect(html).not.toContain('\u0000');
    // Title twice, summary twice, heading, paragraph; chart: title, two names, description of three parts, two labels;
    // picture twice; table: title, header, cell.
    expect(html.split('&quot;&gt;&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&amp;\ufffd')).toHaveLength(1 + 19);
  });

  it('asks for nothing from outside', () => {
    const html = renderReport(content);
    expect(html).not.toMatch(/https?:|url\(|@import|<link|<iframe/);
    expect(html).toContain("default-src 'none'");
    expect(html).toContain('src="data:image/png;base64,AQID"');
  });

  it('is written whole', () => {
    const folder = mkdtempSync(join(tmpdir(), 'tessera-report-'));
    writeReport(join(folder, 'report.html'), content);
    expect(readdirSync(folder)).toEqual(['report.html']);
    expect(readFileSync(join(folder, 'report.html'), 'utf8')).toBe(renderReport(content));
    rmSync(folder, { recursive: true });
  });
});

describe('chartSvg', () => {
  const chart = { title: 't', xLabel: 'x', yLabel: 'y' };
  const pathOf = (svg: string): string => /class="line series-0" d="([^"]*)"/.exec(svg)![1]!;

  it('places points where the axes say', () => {
    const svg = chartSvg({ ...chart, series: [{ name: 'a', points: [[0, 0], [10, 100]] }] }); // biome-ignore format: one row
    // From the left margin (28 and 3 characters of 7) to the right one; 4 % of room above and below.
    expect(pathOf(svg)).toBe('M49 210.4L446 19.6');
  });

  it('leaves out what cannot be drawn', () => {
    const points = [[0, Number.NaN], [1, 1], [2, Number.POSITIVE_INFINITY], [3, 0], [4, 100]] as const; // biome-ignore format: one row
    expect(pathOf(chartSvg({ ...chart, logY: true, series: [{ name: 'a', points }] })).match(/[ML]/g)).toHaveLength(2);
    expect(chartSvg({ ...chart, series: [{ name: 'a', points: [] }] })).toContain('No values.');
    expect(chartSvg({ ...chart, series: [{ name: 'a', points: [[5, 5]] }] })).not.toContain('NaN');
    expect(chartSvg({ ...chart, logY: true, series: [{ name: 'a', points: [[5, 5]] }] })).not.toContain('NaN');
  });

  it('thins long curves but keeps their extremes', () => {
    const points = Array.from({ length: 100_000 }, (_, i) => [i, i === 77_777 ? 50 : Math.sin(i)] as const);
    const svg = chartSvg({ ...chart, series: [{ name: 'a', points }] });
    expect(svg.length).toBeLessThan(40_000);
    // The peak reaches the top margin, less 4 % of the height.
    expect(pathOf(svg)).toMatch(/ 19\.\dL/);
  });
});

describe('axes', () => {
  it.each([
    [0, 10, ['0', '2', '4', '6', '8', '10']],
    [0.013, 0.058, ['0.02', '0.03', '0.04', '0.05']],
    [0, 60_000, ['0', '20k', '40k', '60k']],
    [-1, 1, ['-1.0', '-0.5', '0', '0.5', '1.0']],
    [5, 5, ['4.6', '4.8', '5.0', '5.2', '5.4']],
  ])('marks %d to %d at round numbers', (low, high, expected) => {
    expect(linearAxis(low, high, 5).ticks.map(({ text }) => text)).toEqual(expected);
  });

  it('marks powers of ten, or finer in a narrow range', () => {
    expect(logAxis(0.001, 5).ticks.map(({ text }) => text)).toEqual(['0.001', '0.01', '0.1', '1']);
    expect(logAxis(1.5, 6).ticks.map(({ text }) => text)).toEqual(['2', '5']);
    expect(logAxis(1, 100).place(10)).toBeCloseTo(0.5);
  });
});
