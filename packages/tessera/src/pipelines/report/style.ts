/** The report's style sheet: light and dark by the reader's setting, one column, from phones to wide screens. */

export const STYLE = `
:root { color-scheme: light dark; --page: #fbfaf8; --card: #fff; --ink: #1d1f23; --soft: #63676f; --line: #e4e1dc;
  --c0: #2166c2; --c1: #d1571b; --c2: #2b8a4b; --c3: #8a4fbf; --c4: #b58900; --c5: #c2306a; }
@media (prefers-color-scheme: dark) { :root { --page: #16181c; --card: #1f2227; --ink: #e8e9ec; --soft: #9aa0aa; --line: #33373e;
  --c0: #6ea8fe; --c1: #ff9458; --c2: #63c986; --c3: #c299f2; --c4: #e0b94a; --c5: #f47ba8; } }
* { box-sizing: border-box; }
body { margin: 0; padding: 2.5rem 1.25rem 4rem; background: var(--page); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
main { max-width: 60rem; margin: 0 auto; }
h1 { font-size: clamp(1.6rem, 5vw, 2.2rem); line-height: 1.2; margin: 0 0 1.25rem; letter-spacing: -0.01em; overflow-wrap: anywhere; }
h2 { font-size: 1.25rem; margin: 2.75rem 0 0.75rem; }
p { max-width: 44rem; margin: 0.5rem 0 1rem; overflow-wrap: anywhere; }
dl.summary { display: grid; grid-template-columns: repeat(auto-fill, minmax(11rem, 1fr)); gap: 0.75rem; margin: 0; }
dl.summary > div, figure { background: var(--card); border: 1px solid var(--line); border-radius: 10px; }
dl.summary > div { padding: 0.65rem 0.9rem; min-width: 0; }
dt { color: var(--soft); font-size: 0.82rem; }
dd { margin: 0; font-weight: 600; overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
figure { margin: 1rem 0; padding: 0.9rem 1rem; min-width: 0; }
figcaption { font-weight: 600; font-size: 0.95rem; margin-bottom: 0.5rem; overflow-wrap: anywhere; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); gap: 1rem; }
.charts figure { margin: 0; }
.images { display: flex; flex-wrap: wrap; gap: 1rem; align-items: flex-start; }
.images figure { margin: 0; max-width: 100%; }
.images img { display: block; max-width: 100%; height: auto; border-radius: 4px; image-rendering: pixelated; }
.beside figure { flex: 0 1 calc(50% - 0.5rem); } @media (max-width: 40rem) { .beside figure { flex-basis: 100%; } }
svg { display: block; width: 100%; height: auto; }
svg text { fill: var(--soft); font-size: 12px; font-family: inherit; font-variant-numeric: tabular-nums; }
.grid, .axis { stroke: var(--line); fill: none; } .axis { stroke: var(--soft); }
.line { fill: none; stroke-width: 1.8; stroke-linejoin: round; stroke-linecap: round; }
.bar { stroke-opacity: 0.45; stroke-width: 4; stroke-linecap: butt; }
.legend { display: flex; flex-wrap: wrap; gap: 0.25rem 1rem; color: var(--soft); font-size: 0.85rem; margin-bottom: 0.35rem; }
.swatch { display: inline-block; width: 0.9em; height: 0.25em; border-radius: 2px; margin-right: 0.4em; vertical-align: middle; }
${[0, 1, 2, 3, 4, 5].map((i) => `.line.series-${i} { stroke: var(--c${i}); } circle.series-${i} { fill: var(--c${i}); } .swatch.series-${i} { background: var(--c${i}); }`).join('\n')}
figure.table { overflow-x: auto; padding: 0.35rem 0; } .table figcaption { padding: 0.45rem 1rem 0; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: 0.92rem; }
th, td { padding: 0.45rem 1rem; text-align: left; border-top: 1px solid var(--line); white-space: nowrap; }
thead th { color: var(--soft); font-weight: 500; border-top: 0; }
td:last-child:not(.number) { white-space: normal; overflow-wrap: anywhere; min-width: 12rem; }
td.number, th.number { text-align: right; }
.empty, footer { color: var(--soft); } footer { margin-top: 3rem; font-size: 0.85rem; }
`;
