/**
 * A report as one HTML file that needs nothing else: pictures inside, charts as SVG, no script, no request. Every text
 * is escaped; a policy in the page forbids what slips through to load or run anything.
 */

import { replaceWhole } from '../data/whole-folder.ts';
import { type Chart, chartSvg } from './report/chart.ts';
import { escapeHtml } from './report/escape.ts';
import { STYLE } from './report/style.ts';

export interface ReportImage {
  caption: string;
  mime: 'image/png' | 'image/webp' | 'image/gif' | 'image/jpeg';
  bytes: Uint8Array;
}

export interface ReportTable {
  title?: string;
  header: readonly string[];
  /** Numbers are aligned to the right. */
  rows: readonly (readonly (string | number)[])[];
}

export interface ReportSection {
  heading: string;
  paragraphs?: readonly string[];
  charts?: readonly Chart[];
  images?: readonly ReportImage[];
  /** Images two in a row, to be compared. */
  beside?: boolean;
  tables?: readonly ReportTable[];
}

export interface ReportContent {
  title: string;
  /** Shown on top, such as ["images", "1,234"]. */
  summary: readonly (readonly [label: string, value: string])[];
  sections: readonly ReportSection[];
}

/** Writes the file whole; an older one is replaced. */
export function writeReport(path: string, content: ReportContent): void {
  replaceWhole(path, renderReport(content));
}

export function renderReport({ title, summary, sections }: ReportContent): string {
  const facts = summary.map(
    ([label, value]) => `<div><dt>${escapeHtml(label)}</dt><dd>${escapeHtml(value)}</dd></div>`,
  );
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>${escapeHtml(title)}</title>
<style>${STYLE}</style>
</head>
<body>
<main>
<h1>${escapeHtml(title)}</h1>
<dl class="summary">
${facts.join('\n')}
</dl>
${sections.map(sectionHtml).join('\n')}
<footer>Made by Tessera.</footer>
</main>
</body>
</html>
`;
}

function sectionHtml(section: ReportSection): string {
  const { heading, paragraphs = [], charts = [], images = [], beside = false, tables = [] } = section;
  return [
    '<section>',
    `<h2>${escapeHtml(heading)}</h2>`,
    ...paragraphs.map((text) => `<p>${escapeHtml(text)}</p>`),
    group('charts', charts.map(chartSvg)),
    group(beside ? 'images beside' : 'images', images.map(imageHtml)),
    ...tables.map(tableHtml),
    '</section>',
  ]
    .filter((part) => part !== '')
    .join('\n');
}

function group(name: string, parts: readonly string[]): string {
  return parts.length === 0 ? '' : `<div class="${name}">\n${parts.join('\n')}\n</div>`;
}

function imageHtml({ caption, mime, bytes }: ReportImage): string {
  const data = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64');
  const text = escapeHtml(caption);
  return `<figure><figcaption>${text}</figcaption><img alt="${text}" src="data:${escapeHtml(mime)};base64,${data}"></figure>`;
}

function tableHtml({ title, header, rows }: ReportTable): string {
  const isNumber = header.map((_, column) => rows.length > 0 && rows.every((row) => typeof row[column] === 'number'));
  const cell = (tag: 'td' | 'th', value: string | number, column: number): string =>
    `<${tag}${isNumber[column] === true ? ' class="number"' : ''}>${escapeHtml(String(value))}</${tag}>`;
  const body = rows.map((row) => `<tr>${row.map((value, column) => cell('td', value, column)).join('')}</tr>`);
  return [
    `<figure class="table">${title === undefined ? '' : `<figcaption>${escapeHtml(title)}</figcaption>`}<table>`,
    `<thead><tr>${header.map((value, column) => cell('th', value, column)).join('')}</tr></thead>`,
    `<tbody>${body.join('\n')}</tbody></table></figure>`,
  ].join('\n');
}
