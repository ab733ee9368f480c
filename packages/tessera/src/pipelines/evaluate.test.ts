import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, unlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { encodeNpz, readNpz } from '@tessera/formats';
import { withFile } from '@tessera/formats/node';
import { afterAll, describe, expect, it } from 'vitest';
import { encodePng } from '../data/contact-sheet.ts';
import { classLabels } from './evaluate/generated-set.ts';
import { type EvaluateOptions, type EvaluationResult, evaluate } from './evaluate.ts';
import type { PipelineEvent } from './events.ts';
import { writeDiscs } from './picture-archives.test-support.ts';
import { makeStatistics } from './statistics.ts';
import { writeTinyModel } from './tiny-model.test-support.ts';

const folder = mkdtempSync(join(tmpdir(), 'evaluate-'));
afterAll(() => rmSync(folder, { recursive: true }));
const at = (name: string): string => join(folder, name);

async function run(
  events: AsyncIterable<PipelineEvent>,
): Promise<{ result: Record<string, unknown>; warnings: string[] }> {
  let result: Record<string, unknown> | undefined;
  const warnings: string[] = [];
  for await (const event of events) {
    if (event.kind === 'result') ({ result } = event);
    if (event.kind === 'warning') warnings.push(event.message);
  }
  return { result: result!, warnings };
}

async function measured(options: EvaluateOptions): Promise<EvaluationResult> {
  const { result } = await run(evaluate({ protocol: 'local', resamples: 10, ...options }));
  return result as unknown as EvaluationResult;
}

const reference = writeDiscs(at('reference.npz'), 200, 1);
const same = writeDiscs(at('same.npz'), 200, 2);
const noisy = writeDiscs(at('noisy.npz'), 200, 2, { noise: 60 });
const noisier = writeDiscs(at('noisier.npz'), 200, 2, { noise: 160 });

describe('evaluate with the local extractor', () => {
  it('orders sets by how far they are from the reference, and says what it measured', async () => {
    const [a, b, c] = [
      await measured({ source: same, reference, features: at('features'), out: at('a') }),
      await measured({ source: noisy, reference, features: at('features'), out: at('b') }),
      await measured({
        source: noisier,
        reference,
        features: at('features'),
        out: at('c'),
        compare: [at('a/result.json')],
      }),
    ];
    for (const name of ['FD-local', 'KID-local']) {
      expect(a.metrics[name]!.value).toBeLessThan(b.metrics[name]!.value / 2);
      expect(b.metrics[name]!.value).toBeLessThan(c.metrics[name]!.value);
      expect(a.metrics[name]!.low).toBeLessThan(a.metrics[name]!.value);
    }
    expect(a.metrics.FID).toBeUndefined();
    expect(a.metrics.coverage!.value).toBeGreaterThan(c.metrics.coverage!.value);
    const written = JSON.parse(readFileSync(at('a/result.json'), 'utf8')) as EvaluationResult;
    expect(written.metrics).toEqual(a.metrics);
    expect(written.protocol).toBe('local');
    expect(written.reference.sha256).toMatch(/^[0-9a-f]{64}$/);
    expect(readFileSync(at('a/result.md'), 'utf8')).toContain('FD-local');
    const report = readFileSync(at('c/report.html'), 'utf8');
    expect(report).toContain('Nearest pictures of the reference');
    expect(report).toContain('Beside other results');
  });

  it('gives the same bits in one process, in two, and after a kill', async () => {
    const alone = await measured({ source: same, reference, out: at('alone') });
    process.env.WORLD_SIZE = '2';
    try {
      process.env.RANK = '1';
      const { result } = await run(evaluate({ source: same, reference, protocol: 'local', out: at('ranks') }));
      expect(result.complete).toBe(false);
      process.env.RANK = '0';
      expect((await measured({ source: same, reference, out: at('ranks') })).metrics).toEqual(alone.metrics);
    } finally {
      delete process.env.RANK;
      delete process.env.WORLD_SIZE;
    }
    const [store] = readdirSync(at('ranks/features'));
    const block = join(at('ranks/features'), store!, 'block-00001.safetensors');
    unlinkSync(block);
    expect((await measured({ source: same, reference, out: at('ranks') })).metrics).toEqual(alone.metrics);
    expect(existsSync(block)).toBe(true);
  });

  it('takes statistics instead of pictures, to the same distance', async () => {
    const stats = at('stats.npz');
    await run(makeStatistics({ source: reference, out: stats, protocol: 'local' }));
    withFile(stats, (reader) => {
      const archive = readNpz(reader);
      expect(archive.header('mu')!.shape).toEqual([192]);
      expect(archive.header('sigma')!.dtype).toBe('float64');
    });
    const [a, b] = [
      await measured({ source: noisy, reference, features: at('features'), out: at('d') }),
      await measured({ source: noisy, reference: stats, features: at('features'), out: at('e') }),
    ];
    expect(b.metrics['FD-local']!.value).toBeCloseTo(a.metrics['FD-local']!.value, 8);
    expect(b.metrics['KID-local']).toBeUndefined();
    expect(b.reference.kind).toBe('statistics');
  });

  it('warns of too few images', async () => {
    const few = writeDiscs(at('few.npz'), 20, 5);
    const { warnings } = await run(evaluate({ source: few, reference, protocol: 'local', out: at('few') }));
    expect(warnings.join()).toMatch(/FD-local of 20 images and 192 features: the covariance is singular/);
    const written = JSON.parse(readFileSync(at('few/result.json'), 'utf8')) as EvaluationResult;
    expect(written.warnings).toEqual(warnings);
    expect(written.metrics['FD-local']!.note).toBe('of 20 images: too large');
    const three = await measured({ source: writeDiscs(at('three.npz'), 3, 5), reference, out: at('three') });
    expect(three.warnings.join()).toMatch(/3 images have no third neighbour: there is no precision and no recall/);
    expect(three.metrics.precision).toBeUndefined();
    await expect(measured({ source: writeDiscs(at('one.npz'), 1, 5), reference, out: at('one') })).rejects.toThrow(
      /at least 2 images, got 1/,
    );
  });

  it('warns of pictures of another size than the reference, and fixes what the protocol fixes', async () => {
    const large = writeDiscs(at('large.npz'), 20, 5, { size: 24 });
    const found = await measured({ source: large, reference, out: at('large') });
    expect(found.warnings.join()).toMatch(/large\.npz are 24×24, those of .*reference\.npz 16×16/);
    expect(found.settings).toMatchObject({ rounding: 'bytes', classes: 'even', statistics: 'float64' });
  });
});

describe('evaluate refuses', () => {
  const refused = (options: Partial<EvaluateOptions>): Promise<unknown> =>
    measured({ source: same, reference, out: at('refused'), ...options });
  const npz = (name: string, arrays: Parameters<typeof encodeNpz>[0]): string => {
    writeFileSync(at(name), encodeNpz(arrays));
    return at(name);
  };

  it('Inception protocols without weights, and offers the local extractor', async () => {
    await expect(refused({ protocol: 'adm', inception: at('none.pth') })).rejects.toThrow(
      /tessera fetch fid-inception.*--protocol local/,
    );
    writeFileSync(at('weights.pth'), 'no weights');
    await expect(refused({ protocol: 'fid', inception: at('weights.pth') })).rejects.toThrow(/weights\.pth/);
  });

  it('statistics of another extractor, broken or hostile ones', async () => {
    const numbers = (shape: number[], value = 0) => {
      const size = shape.reduce((a, b) => a * b, 1);
      return { dtype: 'float64' as const, shape, data: new Float64Array(size).fill(value) };
    };
    const other = npz('other.npz', [
      ['mu', numbers([8])],
      ['sigma', numbers([8, 8])],
    ]);
    await expect(refused({ reference: other })).rejects.toThrow(/8 features, local-1 gives 192/);
    const odd = npz('odd.npz', [
      ['mu', numbers([8])],
      ['sigma', numbers([8, 7])],
    ]);
    await expect(refused({ reference: odd })).rejects.toThrow(/sigma \[D, D\].*float64 \[8, 7\]/);
    const half = npz('half.npz', [['mu', numbers([192])]]);
    await expect(refused({ reference: half })).rejects.toThrow(/and nothing/);
    const nan = npz('nan.npz', [
      ['mu', numbers([192], Number.NaN)],
      ['sigma', numbers([192, 192])],
    ]);
    await expect(refused({ reference: nan })).rejects.toThrow(/NaN/);
    await expect(refused({ source: other })).rejects.toThrow(/belong to --reference/);
  });

  it('archives of other things', async () => {
    const grey = { dtype: 'uint8' as const, shape: [4, 8, 8, 1], data: new Uint8Array(256) };
    await expect(refused({ source: npz('grey.npz', [['arr_0', grey]]) })).rejects.toThrow(/uint8 \[4, 8, 8, 1\]/);
    await expect(refused({ source: npz('else.npz', [['x', grey]]) })).rejects.toThrow(/arr_0, got x\.npy/);
    writeFileSync(at('cut.npz'), readFileSync(same).subarray(0, 5000));
    await expect(refused({ source: at('cut.npz') })).rejects.toThrow(/cut\.npz/);
    await expect(refused({ source: at('nothing') })).rejects.toThrow(/no such file/);
    await expect(refused({ guidanceScale: 2 })).rejects.toThrow(/same\.npz is no model/);
  });

  it('intervals of one resample, results that are none, and two curves at once', async () => {
    await expect(refused({ resamples: 1 })).rejects.toThrow(/2 resamples or more/);
    await expect(refused({ compare: [at('same.npz')] })).rejects.toThrow(/same\.npz: expected the result\.json/);
    await expect(refused({ compare: [at('nowhere')] })).rejects.toThrow(/nowhere: expected the result\.json/);
    await expect(
      refused({ sweep: { setting: 'numSteps', values: [1] }, checkpoints: 'all', source: same }),
    ).rejects.toThrow(/of one model/);
    await expect(refused({ reference: undefined })).rejects.toThrow(/--reference PATH/);
    const statistics = npz('unit.npz', [
      ['mu', { dtype: 'float64', shape: [192], data: new Float64Array(192) }],
      ['sigma', { dtype: 'float64', shape: [192, 192], data: new Float64Array(192 * 192) }],
    ]);
    await expect(refused({ reference: statistics, heldOut: same })).rejects.toThrow(/holds statistics alone/);
  });

  it('folders of mixed sizes, unless they are resized', async () => {
    const mixed = mkdtempSync(join(folder, 'mixed-'));
    for (let i = 0; i < 6; i++) {
      const size = i === 4 ? 20 : 16;
      const picture = { width: size, height: size, data: new Uint8Array(size * size * 3).fill(40 * i) };
      writeFileSync(join(mixed, `${i}.png`), await encodePng(picture));
    }
    await expect(refused({ source: mixed })).rejects.toThrow(/16×16 \(0\.png\) and 20×20 \(4\.png\).*--size PX/);
    expect((await measured({ source: mixed, reference, size: 16, out: at('mixed') })).source.numImages).toBe(6);
    writeFileSync(join(mixed, '5.png'), 'no picture');
    await expect(refused({ source: mixed, size: 16 })).rejects.toThrow(/5\.png.*would be another set.*remove the file/);
  });
});

describe('classLabels', () => {
  it('are balanced and sorted, what is left over is class 0, or uniform draws', () => {
    expect(classLabels('balanced', 7, 3, 0)).toEqual([0, 0, 1, 1, 2, 2, 0]);
    expect(classLabels('balanced', 2, 3, 0)).toEqual([0, 0]);
    expect(classLabels('even', 6, 3, 0)).toEqual([0, 0, 1, 1, 2, 2]);
    expect(classLabels('even', 7, 3, 0)).toEqual([0, 0, 0, 1, 1, 2, 2]);
    expect(classLabels('even', 2, 1000, 0)).toEqual([0, 500]);
    const drawn = classLabels('uniform', 3000, 3, 1);
    for (const label of [0, 1, 2]) {
      expect(Math.abs(drawn.filter((one) => one === label).length - 1000)).toBeLessThan(100);
    }
  });
});

describe('evaluate a model', () => {
  it('draws what the settings say, sweeps them, and goes on from stored features', async () => {
    const model = at('tiny');
    writeTinyModel(model);
    const options = { source: model, reference, out: at('model'), numImages: 24, seed: 3 };
    const sweep = { setting: 'guidanceScale' as const, values: [1, 3] };
    const swept = await measured({ ...options, sweep });
    const other = { ...options, guidanceScale: 3 };
    await expect(measured({ ...other, sweep })).rejects.toThrow('The sweep gives values of --guidance-scale');
    // The curve's result is not written over.
    await expect(measured(other)).rejects.toThrow(
      `${at('model')} holds the result of another evaluation (of ${model}; curve and source differ)`,
    );
    const features = at('model/features');
    const single = await measured({ ...other, out: at('single'), features });
    expect(swept.sweep!.points.map(({ value }) => value)).toEqual([1, 3]);
    expect(swept.sweep!.points[1]!.metrics).toEqual(single.metrics);
    expect(swept.sweep!.points[0]!.metrics).not.toEqual(single.metrics);
    expect(single.source).toMatchObject({ kind: 'model', numImages: 24, seed: 3 });
    const few = await measured({ ...other, out: at('by five'), batch: 5 });
    expect(few.metrics['FD-local']!.value).toBeCloseTo(single.metrics['FD-local']!.value, 4);
    // The reference and two settings: the single run found its features there.
    expect(readdirSync(features)).toHaveLength(3);
    expect(await measured({ ...options, sweep })).toEqual(swept);
    // What cannot be measured is told before the reference is looked at.
    const early = { ...options, out: at('early'), topK: 5 };
    await expect(measured(early)).rejects.toThrow('--top-k belongs to autoregressive models');
    expect(existsSync(at('early'))).toBe(false);
    expect(readFileSync(at('model/report.html'), 'utf8')).toContain('a class a row');
  });
});
