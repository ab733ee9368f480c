/** The API reference in docs/api is what the doc comments give now. */

import { readFileSync } from 'node:fs';
import * as torch from '@tessera/torch';
import { beforeAll, describe, expect, it } from 'vitest';
import { REFERENCES, renderReferences } from '../scripts/api-reference.mjs';

let pages: Map<string, string>;
beforeAll(() => {
  pages = renderReferences();
}, 60_000);

describe('the API reference', () => {
  it.each(REFERENCES)('of %s is up to date (renew it with "npm run api")', (folder) => {
    const file = new URL(`../docs/api/${folder}.md`, import.meta.url);
    expect(readFileSync(file, 'utf8')).toBe(pages.get(folder));
  });

  it('names every export of @tessera/torch', () => {
    const page = pages.get('torch')!;
    // Operations are lines, everything else has a heading.
    const missing = Object.keys(torch).filter(
      (name) => !page.includes(`\n### ${name}\n`) && !page.includes(`\n- \`${name}`),
    );
    expect(missing).toEqual([]);
  });

  it('shows signatures and comments, and nothing private', () => {
    const page = pages.get('torch')!;
    expect(page).toContain(
      'Runs `body` without recording operations for the backward pass.\n\n```ts\nfunction noGrad<T>(body: () => T): T;\n```',
    );
    expect(page).toContain(
      '- `linear(input: Tensor, weight: Tensor, bias?: Tensor): Tensor`\n  `linear(Tensor input, Tensor weight, Tensor? bias=None) -> Tensor`',
    );
    expect(page).toContain('  get shape(): number[];');
    expect(page).not.toMatch(/^ *private /m);
    expect(page).not.toMatch(/registerTensorClass|addon\(\)\./);
  });
});
