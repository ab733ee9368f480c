// What evaluations draw and decode on a pretended GPU comes to the CPU, where it is compared.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { DEVICE_VARIABLE, useDevice } from '../../nn/device.ts';
import { clearGpuLog, gpuLog } from '../../nn/pretend-gpu.test-support.ts';
import { writeDiscs } from '../picture-archives.test-support.ts';
import { writeTinyModel } from '../tiny-model.test-support.ts';
import { openSource, type SourceOptions } from './open-source.ts';
import { PROTOCOLS } from './protocols.ts';

vi.mock('@tessera/torch', async (original) =>
  (await import('../../nn/pretend-gpu.test-support.ts')).pretendGpu(original),
);

const folder = mkdtempSync(join(tmpdir(), 'evaluate-device-'));
const tiny = join(folder, 'tiny');

beforeAll(() => {
  writeTinyModel(tiny);
  useDevice('cuda');
});
afterAll(() => {
  delete process.env[DEVICE_VARIABLE];
  rmSync(folder, { recursive: true });
});

async function expectOnCpu(options: Partial<SourceOptions>): Promise<void> {
  clearGpuLog();
  const source = await openSource({ protocol: PROTOCOLS.local, ...options });
  const { images, columns } = await source.images.readMeasured!(0, 4);
  expect(gpuLog.operations).toBeGreaterThan(0);
  expect(gpuLog.mixed).toEqual([]);
  expect(images.shape).toEqual([4, 16, 16, 3]);
  for (const column of [images, ...Object.values(columns)]) {
    expect(column.device).toBe('cpu');
    column.dispose();
  }
  source.dispose();
}

it('a reconstruction is compared on the CPU, where its originals are', async () => {
  const discs = writeDiscs(join(folder, 'discs.npz'), 4, 1);
  await expectOnCpu({ source: discs, reconstruction: true, tokenizer: tiny });
});

it("a model's pictures come to the CPU", () => expectOnCpu({ source: tiny, numImages: 4 }));
