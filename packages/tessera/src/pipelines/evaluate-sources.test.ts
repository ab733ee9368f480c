import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { encodeNpy, readNpy, readNpz } from '@tessera/formats';
import { withFile } from '@tessera/formats/node';
import type { Strategy } from '@tessera/schedule';
import { fromTypedArray, memoryStats, noGrad, scope, setNumThreads } from '@tessera/torch';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TokenDatasetWriter } from '../data/token-dataset.ts';
import { psnr } from '../metrics/picture-quality.ts';
import { generatedSet } from './evaluate/generated-set.ts';
import type { ImageSet } from './evaluate/image-set.ts';
import { openModel } from './evaluate/open-model.ts';
import { PROTOCOLS } from './evaluate/protocols.ts';
import { decodedAtOnce, reconstructedSet } from './evaluate/reconstructed-set.ts';
import { openTokenSet } from './evaluate/token-set.ts';
import { type EvaluateOptions, type EvaluationResult, evaluate } from './evaluate.ts';
import { openTokenizer } from './model-folder.ts';
import { writeClassFolders, writeDiscs } from './picture-archives.test-support.ts';
import { sample } from './sample.ts';
import { sampleTokens } from './sample-tokens.ts';
import { TINY_CLASSES, writeTinyModel } from './tiny-model.test-support.ts';
import { train } from './train.ts';

const folder = mkdtempSync(join(tmpdir(), 'evaluate sources '));
const at = (name: string): string => join(folder, name);
const tiny = at('tiny');
let reference: string;
let byClass: string;

beforeAll(async () => {
  setNumThreads(1);
  writeTinyModel(tiny);
  reference = writeDiscs(at('reference.npz'), 40, 1);
  byClass = await writeClassFolders(at('classes'), TINY_CLASSES, 20, 3);
  await drain(
    sample({
      model: tiny,
      classes: ['0'],
      perClass: 12,
      seed: 4,
      out: at('drawn'),
      npz: at('drawn.npz'),
      strategy: 'enat',
    }),
  );
});
afterAll(() => rmSync(folder, { recursive: true }));

async function drain(events: AsyncIterable<{ kind: string }>): Promise<Record<string, unknown>> {
  let last: unknown = {};
  for await (const event of events) if (event.kind === 'result') last = (event as { result?: unknown }).result;
  return last as Record<string, unknown>;
}

let count = 0;

async function measured(options: EvaluateOptions): Promise<EvaluationResult> {
  const before = memoryStats().liveTensors;
  const result = await drain(
    evaluate({
      protocol: 'local',
      reference,
      resamples: 0,
      features: at('features'),
      out: at(`out ${count++}`),
      ...options,
    }),
  );
  expect(memoryStats().liveTensors).toBe(before);
  return result as unknown as EvaluationResult;
}

describe('sources of an evaluation', () => {
  it('bare weights with a tokenizer give the numbers of the model folder', async () => {
    const weights = at('bare.safetensors');
    cpSync(join(tiny, 'model.safetensors'), weights);
    const how = { strategy: join(tiny, 'strategy.yaml'), numImages: 20, seed: 5 };
    const shape = { encoderDepth: 2, numHeads: 2 };
    const whole = await measured({ source: tiny, ...how });
    const bare = await measured({ weights, tokenizer: join(tiny, 'tokenizer'), ...shape, ...how });
    expect(bare.metrics).toEqual(whole.metrics);
    expect(bare.source).toMatchObject({ path: weights, kind: 'model', numImages: 20, seed: 5 });
    await expect(measured({ weights, ...how })).rejects.toThrow(/makes tokens.*--tokenizer FOLDER/);
    await expect(measured({ weights, source: tiny, ...how })).rejects.toThrow(/and not both/);
  });

  it('a model folder says all of itself: what belongs to checkpoints is refused', async () => {
    for (const given of [
      { tokenizer: tiny },
      { tokenizerWeights: reference },
      { model: 'enat-l' },
      { numHeads: 2 },
    ] as const) {
      await expect(measured({ source: tiny, ...given })).rejects.toThrow(
        /belongs to .*--weights.*tiny is a model folder/,
      );
    }
  });

  it('a curve of which one point is impossible is refused before anything is measured', async () => {
    const sweep = { setting: 'numSteps', values: [3, 4] } as const;
    await expect(measured({ source: tiny, sweep, out: at('never') })).rejects.toThrow(/3 steps.*cannot be 4/);
    expect(existsSync(at('never'))).toBe(false);
  });

  it('what may be decoded at a time depends on the size of the pictures', async () => {
    expect([256, 512, 1024, 2048].map((side) => decodedAtOnce(side ** 2))).toEqual([16, 4, 1, 1]);
    const tokenizer = openTokenizer(join(tiny, 'tokenizer'));
    const wide = Object.create(tokenizer, { downsampleFactor: { value: 128 }, dispose: { value: () => {} } });
    writeFileSync(at('some.npy'), encodeNpy({ dtype: 'int64', shape: [1, 16], data: new BigInt64Array(16) }));
    const tokens = openTokenSet(at('some.npy'), wide, PROTOCOLS.local);
    expect(tokens.batch).toBe(4);
    tokens.dispose();
    const originals = { fingerprint: '', pixels: 512 ** 2, dispose: () => {} } as ImageSet;
    const back = reconstructedSet(originals, tokenizer, { protocol: PROTOCOLS.local, ssimRange: 1 });
    expect(back.batch).toBe(4);
    tokenizer.dispose();
  });

  it("features are another model's where heads differ, though weights and pictures' number are the same", async () => {
    const open = openModel({ source: tiny });
    const { strategy } = open as { strategy: Strategy };
    const options = { numImages: 4, seed: 0, protocol: PROTOCOLS.local };
    const other = Object.create(open.model, { config: { value: { ...open.model.config, numHeads: 1 } } });
    const [a, b] = [
      await generatedSet(open, strategy, options),
      await generatedSet({ ...open, model: other }, strategy, options),
    ];
    expect(a.fingerprint).not.toBe(b.fingerprint);
    for (const one of [a, b, open]) one.dispose();
  });

  it('token files, with labels and without, give the numbers of their pictures', async () => {
    const ids = at('ids.npy');
    const choice = { classes: ['0'], perClass: 12, seed: 4, strategy: 'enat' };
    await drain(
      sampleTokens({ ...choice, weights: join(tiny, 'model.safetensors'), encoderDepth: 2, numHeads: 2, tokens: ids }),
    );
    const pictures = await measured({ source: at('drawn.npz') });
    const bare = await measured({ source: ids, tokenizer: tiny });
    expect(bare.source).toMatchObject({ kind: 'tokens', numImages: 12 });
    expect(bare.metrics['FD-local']!.value).toBeCloseTo(pictures.metrics['FD-local']!.value, 4);
    // The same with a label before each row, as AutoNAT and ENAT keep them.
    const { data } = withFile(ids, (reader) => readNpy(reader)) as { data: BigInt64Array };
    const rows = Array.from({ length: 12 }, (_, i) => [0n, ...data.slice(16 * i, 16 * i + 16)]).flat();
    writeFileSync(at('rows.npy'), encodeNpy({ dtype: 'int64', shape: [12, 17], data: BigInt64Array.from(rows) }));
    expect((await measured({ source: at('rows.npy'), tokenizer: tiny })).metrics).toEqual(bare.metrics);
    await expect(measured({ source: ids })).rejects.toThrow(/holds tokens: add --tokenizer/);
    const foreign = Array.from(data, (id, i) => (i === 20 ? 32n : id));
    writeFileSync(at('foreign.npy'), encodeNpy({ dtype: 'int64', shape: [12, 16], data: BigInt64Array.from(foreign) }));
    await expect(measured({ source: at('foreign.npy'), tokenizer: tiny })).rejects.toThrow(
      /foreign.npy, image 1: expected tokens in 0..31, got 32/,
    );
  });

  it('a run gives its newest checkpoint, one checkpoint itself, and all of them a curve', async () => {
    const run = at('run');
    const tokens = new TokenDatasetWriter(at('tokens'), { gridSize: 4, codebookSize: 32, classes: ['even', 'odd'] });
    for (let i = 0; i < 12; i++) tokens.add(i % 2, Array.from({ length: 16 }, (_, p) => (i + 2 * p) % 32)); // biome-ignore format: one row
    tokens.finish();
    writeFileSync(
      at('tiny.yaml'),
      'model: autonat-nano\nnetwork: { embedDim: 16, depth: 2, numHeads: 2 }\n' +
        'training: { globalBatch: 4, totalSteps: 4, checkpointEvery: 2, ema: 0.1, ' +
        'learningRate: { kind: constant, base: 0.1, warmupSteps: 0 } }\n',
    );
    await drain(train({ config: at('tiny.yaml'), data: [at('tokens')], out: run }));
    const how = { tokenizer: join(tiny, 'tokenizer'), numImages: 10 };
    await expect(measured({ source: run, numImages: 10 })).rejects.toThrow(/makes tokens/);
    await expect(measured({ source: run, ...how, numHeads: 2 })).rejects.toThrow(/--num-heads belongs to --weights/);
    const newest = await measured({ source: run, ...how });
    expect(newest.source.path).toBe(join(run, 'checkpoints', 'step-0000004'));
    const first = await measured({ source: join(run, 'checkpoints', 'step-0000002'), ...how });
    const curve = await measured({ source: run, ...how, checkpoints: 'all', out: at('curve') });
    expect(curve.sweep!.setting).toBe('step');
    expect(curve.sweep!.points).toEqual([
      { value: 2, metrics: first.metrics },
      { value: 4, metrics: newest.metrics },
    ]);
    expect(first.metrics).not.toEqual(newest.metrics);
    expect(readFileSync(at('curve/report.html'), 'utf8')).toContain('Over checkpoints');
    expect(readFileSync(at('curve/result.md'), 'utf8')).toMatch(/\n\n\| step \| FD-local .*\n.*\n\| 2 \| .*\n\| 4 \| /);
    await expect(measured({ source: run, ...how, checkpoints: [3] })).rejects.toThrow(/step 3; there are 2, 4/);
    await expect(measured({ source: tiny, ...how, checkpoints: 'all' })).rejects.toThrow(/folder with checkpoints/);
  });

  it('a run without dropped labels is not guided, but where its network drops them', async () => {
    const made = async (family: string, network: string, flags: object): Promise<string> => {
      const [run, tokens, config] = [at(`whole ${family}`), at(`tokens of ${family}`), at(`${family}.yaml`)];
      const writer = new TokenDatasetWriter(tokens, { gridSize: 4, codebookSize: 32, classes: ['even', 'odd'] });
      for (let i = 0; i < 4; i++) writer.add(i % 2, new Array<number>(16).fill(i));
      writer.finish();
      writeFileSync(
        config,
        `model: ${family}-nano\nnetwork: ${network}\ntraining: { globalBatch: 4, totalSteps: 1 }\n`,
      );
      await drain(train({ config, data: [tokens], out: run, labelDrop: 0, ...flags }));
      return run;
    };
    const how = { tokenizer: join(tiny, 'tokenizer'), numImages: 10 };
    const enat = await made('enat', '{ embedDim: 16, encoderDepth: 2, decoderDepth: 1, numHeads: 2 }', {
      exactOriginal: true,
    });
    const guided = await measured({ source: enat, ...how, strategy: 'enat', guidanceScale: 3 });
    expect(guided.source.strategy).toMatchObject({ numSteps: 8 });
    const gpt = await made('gpt', '{ embedDim: 16, depth: 1, numHeads: 2, ffnMultipleOf: 16 }', {});
    expect((await measured({ source: gpt, ...how })).source.strategy).toMatchObject({ guidanceScale: 1 });
    await expect(measured({ source: gpt, ...how, guidanceScale: 2 })).rejects.toThrow('null class');
  });
});

describe('a reconstruction', () => {
  it('has the PSNR, SSIM and codebook usage of the tokenizer, and a distance to the originals', async () => {
    const options = { source: reference, reference: undefined, reconstruction: true, tokenizer: tiny };
    const result = await measured(options);
    const { metrics } = result;
    expect(Object.keys(metrics)).toEqual(
      ['rFD-local', 'rKID-local', 'precision', 'recall', 'density', 'coverage', 'PSNR', 'SSIM', 'codebook usage', 'codebook perplexity'], // biome-ignore format: one row
    );
    const expected = noGrad(() =>
      scope(() => {
        const { data, shape } = withFile(reference, (reader) => readNpz(reader).get('arr_0')!);
        const images = fromTypedArray(data as Uint8Array, shape)
          .permute([0, 3, 1, 2])
          .to('float32')
          .div(255);
        const tokenizer = openTokenizer(join(tiny, 'tokenizer'));
        const tokens = tokenizer.encode(images.contiguous());
        const rounded = tokenizer.decode(tokens).mul(255).add(0.5).floor().div(255);
        const values = psnr(images.contiguous(), rounded);
        const used = new Set(tokens.flatten().toNumbers()).size;
        tokenizer.dispose();
        return { psnr: values.reduce((a, b) => a + b) / values.length, used: used / 32 };
      }),
    );
    expect(metrics.PSNR!.value).toBeCloseTo(expected.psnr, 4);
    expect(metrics.PSNR!.low).toBeLessThan(metrics.PSNR!.value);
    expect(metrics['codebook usage']!.value).toBe(expected.used);
    expect(result.reference.path).toBe(reference);
    expect(result.source).toMatchObject({ kind: 'reconstruction', tokenizer: tiny });
    const wide = await measured({ ...options, ssimRange: 2 });
    expect(wide.metrics.SSIM!.value).toBeGreaterThan(metrics.SSIM!.value);
    expect(wide.metrics.PSNR).toEqual(metrics.PSNR);
    await expect(measured({ ...options, tokenizer: undefined })).rejects.toThrow(/goes through a tokenizer/);
    await expect(measured({ ...options, source: tiny })).rejects.toThrow(/starts from pictures/);
    await expect(measured({ ...options, numImages: 3 })).rejects.toThrow(/--num-images.*draws nothing/);
    await expect(measured({ ...options, heldOut: reference })).rejects.toThrow(/--held-out.*a reconstruction/);
    await expect(measured({ source: reference, ssimRange: 2 })).rejects.toThrow(/--ssim-range belongs to/);
    const odd = writeDiscs(at('odd.npz'), 4, 1, { size: 18 });
    await expect(measured({ ...options, source: odd })).rejects.toThrow(/multiples of 4.*got 18×18/);
  });
});

describe('the class judge', () => {
  it('tells classes of the reference, is kept, and does not judge what it cannot know', async () => {
    const fresh = await writeClassFolders(at('fresh'), TINY_CLASSES, 8, 30);
    const options = { reference: byClass, judge: true, features: at('judged') };
    const good = await measured({ ...options, source: fresh });
    expect(good.judge!.quality).toMatchObject({ numTrained: 48, numHeldOut: 12, heldOutAccuracy: 1 });
    expect(good.metrics['judge accuracy']!.value).toBeGreaterThan(0.8);
    expect(good.metrics['judge accuracy']!.note).toMatch(/100.0 % of 12 held-out/);
    // The names of the folders are turned round: the third of the classes in the middle stays right.
    const turned = await writeClassFolders(at('turned'), [...TINY_CLASSES].reverse(), 8, 30);
    const bad = await measured({ ...options, source: turned });
    expect(bad.metrics['judge accuracy']!.value).toBeLessThan(0.5);
    const [worst, , best] = bad.judge!.byClass;
    expect(worst!.right).toBeLessThan(3);
    expect(best).toMatchObject({ name: TINY_CLASSES[1], count: 8 });
    expect(best!.right).toBeGreaterThan(5);
    expect(readdirSync(at('judged')).filter((name) => name.startsWith('judge-'))).toHaveLength(1);
    // Of processes that do not wait for one another, whichever finds everything there asks the judge.
    process.env.WORLD_SIZE = '2';
    try {
      const apart = { ...options, source: fresh, features: at('judged-apart') };
      process.env.RANK = '0';
      expect(await measured(apart)).toMatchObject({ complete: true });
      process.env.RANK = '1';
      expect((await measured(apart)).metrics).toEqual(good.metrics);
    } finally {
      delete process.env.RANK;
      delete process.env.WORLD_SIZE;
    }
    const model = await measured({ ...options, source: tiny, numImages: 12, out: at('judged-model') });
    expect(model.judge!.byClass.map(({ count }) => count)).toEqual([4, 4, 4]);
    expect(readFileSync(at('judged-model/report.html'), 'utf8')).toContain('Class judge');

    await expect(measured({ source: tiny, judge: true })).rejects.toThrow(/reference.npz has no class folders/);
    await expect(measured({ ...options, source: reference })).rejects.toThrow(
      /classes of .*reference.npz are not known/,
    );
    const others = await writeClassFolders(at('others'), ['apples', 'plums'], 3, 1);
    await expect(measured({ ...options, source: others })).rejects.toThrow(
      /"plums" is a class of .*others and none of/,
    );
  });
});

describe('the check of memorisation', () => {
  it('finds copies of the reference, which new pictures are not', async () => {
    const heldOut = writeDiscs(at('held-out.npz'), 30, 8);
    const honest = await measured({ source: writeDiscs(at('new.npz'), 30, 9), heldOut });
    expect(honest.memorisation).toMatchObject({ unseenAre: 'held-out', generated: { count: 30 } });
    expect(Math.abs(honest.memorisation!.nearer - 0.5)).toBeLessThan(0.25);
    const copied = await measured({ source: writeDiscs(at('copies.npz'), 30, 1), heldOut, out: at('copied') });
    expect(copied.memorisation!.nearer).toBe(1);
    expect(copied.memorisation!.nearest[0]).toMatchObject({ distance: 0 });
    for (const { sample: own, training } of copied.memorisation!.nearest) expect(training).toBe(own);
    expect(readFileSync(at('copied/report.html'), 'utf8')).toContain('held-out pictures');
    const unknown = await measured({ source: at('new.npz') });
    expect(unknown.memorisation!.unseenAre).toBe('training');
  });
});
