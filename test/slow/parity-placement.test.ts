/**
 * Every parity case with its networks on a pretended GPU: what they compute agrees, and no operation is given tensors of two
 * devices. `TESSERA_DEVICE=cuda npm run test:parity` is the same on a real one.
 */

import { scope } from '@tessera/torch';
import { useDevice } from 'tessera';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { clearGpuLog, gpuLog } from '../../packages/tessera/src/nn/pretend-gpu.test-support.ts';
import { differences } from '../parity/compare.ts';
import { openGoldenSet } from '../parity/golden-set.ts';
import { GoldenReader } from '../parity/golden-value.ts';
import { CaseContext } from '../parity/runner.ts';
import { isCovered, runnerOf } from '../parity/runners.ts';

vi.mock('@tessera/torch', async (original) =>
  (await import('../../packages/tessera/src/nn/pretend-gpu.test-support.ts')).pretendGpu(original),
);

const folders = openGoldenSet() ?? [];
beforeAll(() => void useDevice('cuda'));
afterAll(() => {
  delete process.env.TESSERA_DEVICE;
});

it.each(folders.map((folder) => [folder.name, folder] as const))('%s', { timeout: 300_000 }, (_, folder) => {
  const reader = new GoldenReader(folder);
  const problems: string[] = [];
  for (const golden of folder.cases.filter((item) => isCovered(item, folder))) {
    clearGpuLog();
    const found = scope(() => {
      const outputs = runnerOf(golden.kind)!(new CaseContext(golden, reader))!;
      return Object.entries(golden.outputs).flatMap(([role, reference]) =>
        differences(role, outputs[role], reader.value(reference, golden), reference),
      );
    });
    problems.push(...[...found, ...gpuLog.mixed].map((line) => `${golden.id}: ${line}`));
  }
  expect(problems).toEqual([]);
});

it('finds no cases only where there is no set', () => {
  if (process.env.REQUIRE_SHARED === '1') expect(folders.length).toBeGreaterThan(0);
});
