/**
 * The parity suite: every case of every manifest, run by the runner of its kind and compared by the manifest's rule.
 * A kind without a runner is listed as not covered. `GOLDEN_DIR=… npm run test:parity` checks another set.
 */

import { scope } from '@tessera/torch';
import { afterAll, describe, expect, it } from 'vitest';
import { differences } from './compare.ts';
import { openGoldenSet } from './golden-set.ts';
import { GoldenReader } from './golden-value.ts';
import { CaseContext } from './runner.ts';
import { isCovered, runnerOf } from './runners.ts';

const folders = openGoldenSet();
const uncovered = new Map<string, number>();

for (const folder of folders ?? []) {
  const reader = new GoldenReader(folder);
  const covered = folder.cases.filter((item) => {
    if (isCovered(item, folder)) return true;
    const label = `${folder.name}: ${item.kind}`;
    uncovered.set(label, (uncovered.get(label) ?? 0) + 1);
    return false;
  });
  if (covered.length === 0) continue;
  describe(folder.name, () => {
    for (const golden of covered) {
      it(`${golden.id} (${golden.kind})`, () => {
        const problems = scope(() => {
          const outputs = runnerOf(golden.kind)!(new CaseContext(golden, reader))!;
          return Object.entries(golden.outputs).flatMap(([role, reference]) =>
            differences(role, outputs[role], reader.value(reference, golden), reference),
          );
        });
        expect(problems).toEqual([]);
      });
    }
  });
}

describe('parity', () => {
  it('finds cases that it can run', () => {
    if (folders !== undefined) expect(folders.flatMap((folder) => folder.cases).length).toBeGreaterThan(0);
  });
});

afterAll(() => {
  if (uncovered.size === 0) return;
  const lines = [...uncovered].map(([label, count]) => `  ${label} (${count})`);
  console.log(`not covered, no runner for the kind yet:\n${lines.join('\n')}`);
});
