import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { memoryStats, setNumThreads } from '@tessera/torch';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TokenDatasetWriter } from '../data/token-dataset.ts';
import type { PipelineEvent } from './events.ts';
import { saveStrategy } from './named-strategy-files.ts';
import { sample } from './sample.ts';
import { writeTinyModel } from './tiny-model.test-support.ts';
import { type TrainOptions, train } from './train.ts';

let folder: string;
let data: string;
let config: string;

beforeAll(() => {
  setNumThreads(1);
  folder = mkdtempSync(join(tmpdir(), 'train '));
  data = join(folder, 'tokens');
  const writer = new TokenDatasetWriter(data, { gridSize: 4, codebookSize: 32, classes: ['even', 'odd'] });
  const rows = Array.from({ length: 12 }, (_, i) => Array.from({ length: 16 }, (_, p) => (i + 2 * p) % 32));
  for (const [i, row] of rows.entries()) writer.add(i % 2, row);
  writer.finish();
  writeTinyModel(join(folder, 'tiny'));
  config = join(folder, 'tiny.yaml');
  writeFileSync(
    config,
    'model: autonat-nano\nnetwork: { embedDim: 16, depth: 2, numHeads: 2 }\ntraining: { globalBatch: 4, totalSteps: 4 }\n',
  );
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function run(options: TrainOptions): Promise<PipelineEvent[]> {
  const events: PipelineEvent[] = [];
  for await (const event of train(options)) events.push(event);
  return events;
}

describe('train', () => {
  it('trains an AutoNAT from a file to a model folder that samples, and goes on from its weights', async () => {
    const before = memoryStats().liveTensors;
    const out = join(folder, 'first');
    const events = await run({ config, data: [data], out, tokenizer: join(folder, 'tiny'), recompute: true });
    expect(events.at(-1)).toMatchObject({ kind: 'result', result: { steps: 4, model: join(out, 'model') } });
    const model = JSON.parse(readFileSync(join(out, 'model', 'config.json'), 'utf8'));
    expect(model).toMatchObject({ family: 'autonat', imageSize: 16, model: { depth: 2, numClasses: 2, gridSize: 4 } });
    const made: PipelineEvent[] = [];
    for await (const event of sample({ model: join(out, 'model'), numImages: 2, out: join(folder, 'samples') })) {
      made.push(event);
    }
    expect(made.at(-1)).toMatchObject({ result: { numImages: 2, classes: ['even', 'odd'] } });

    // The same command again writes the same model, and leaves the strategies that were kept in it.
    const kept = join(out, 'model', 'strategies', 'quick.yaml');
    saveStrategy(join(out, 'model'), 'quick', join(out, 'model', 'strategy.yaml'));
    await run({ config, data: [data], out, tokenizer: join(folder, 'tiny'), recompute: true });
    expect(existsSync(kept)).toBe(true);

    // Three classes instead of two: the class table starts anew, the rest from the first run.
    const second = { config, data: [data], out: join(folder, 'second'), numClasses: 3, steps: 1 };
    const initFrom = join(out, 'model');
    await expect(run({ ...second, initFrom })).rejects.toThrow(
      /context_embed.word_embeddings.weight: expected \[4, 16\]/,
    );
    const resumed = await run({ ...second, initFrom, ignoreKeys: ['context_embed.word'] });
    expect(resumed.at(-1)).toMatchObject({ result: { steps: 1 } });
    // However its place is written.
    const elsewhere = `${out}/../${basename(out)}/model/`;
    await run({ ...second, initFrom: elsewhere, ignoreKeys: ['context_embed.word'] });
    // Other weights of the same name and size are others.
    const file = join(folder, 'other', 'model.safetensors');
    mkdirSync(join(folder, 'other'));
    const bytes = readFileSync(join(initFrom, 'model.safetensors'));
    writeFileSync(file, bytes.fill(0, bytes.length - 4));
    await expect(run({ ...second, initFrom: file, ignoreKeys: ['context_embed.word'] })).rejects.toThrow(
      /start.initFrom/,
    );
    // What a run started from is one of its settings.
    await expect(run({ ...second, initFrom, ignoreKeys: ['context_embed'] })).rejects.toThrow(/start.ignoreKeys: \["context_embed.word"\] there/); // biome-ignore format: one row
    await expect(run(second)).rejects.toThrow(/start.initFrom: .* there, nothing now/);
    const settings = (name: string) => readFileSync(join(folder, name, 'config.yaml'), 'utf8');
    expect(settings('second')).toContain('\nstart:\n');
    expect(settings('first')).not.toContain('\nstart:');
    expect(memoryStats().liveTensors).toBe(before);
  });

  it('marks a model that was trained without a null class, which cannot be guided', async () => {
    const out = join(folder, 'unguided');
    await run({ config, data: [data], out, tokenizer: join(folder, 'tiny'), labelDrop: 0, steps: 1 });
    const model = join(out, 'model');
    const attempt = async (guidanceScale: number) => {
      for await (const _ of sample({
        model,
        numImages: 1,
        out: join(folder, 'guided'),
        guidanceScale,
        strategy: 'enat',
      })) {
        // Nothing is looked at.
      }
    };
    await expect(attempt(2)).rejects.toMatchObject({
      code: 'GUIDANCE',
      message: expect.stringContaining('null class'),
    });
    await attempt(1);
  });

  it('shows its settings without data', async () => {
    const [event] = await run({ config, dryRun: true, exactOriginal: true, out: join(folder, 'dry') });
    expect(event).toMatchObject({
      kind: 'result',
      result: { settings: { model: 'autonat-nano', training: { totalSteps: 4, discardsBatches: true } } },
    });
    expect(existsSync(join(folder, 'dry'))).toBe(false);
  });

  it('shows the settings that the data decides, and what is wrong with it', async () => {
    const before = memoryStats().liveTensors;
    const [event] = await run({ config, dryRun: true, data: [data], epochs: 2 });
    expect(event).toMatchObject({
      result: { settings: { network: { numClasses: 2, gridSize: 4 }, training: { totalSteps: 6 } } },
    });
    const elsewhere = join(folder, 'elsewhere.yaml');
    writeFileSync(elsewhere, 'model: enat-nano\ndata: nowhere\n');
    expect((await run({ config: elsewhere, dryRun: true })).at(-1)).toMatchObject({ kind: 'result' });
    await expect(run({ config, dryRun: true, data: ['nowhere'] })).rejects.toThrow('Expected tokens at nowhere');
    await expect(run({ config, dryRun: true, data: [data], mix: [1, 2] })).rejects.toThrow(
      /weight for each of 1 token sets, got 2/,
    );
    expect(memoryStats().liveTensors).toBe(before);
  });

  it('refuses a training without tokens, and one without a run folder', async () => {
    await expect(run({ config })).rejects.toThrow('expected tokens (--data)');
    await expect(run({ config, data: [data] })).rejects.toThrow('expected a run folder (--out)');
    const places = { out: join(folder, 'never'), alsoSaveTo: config };
    await expect(run({ config, data: [data], ...places })).rejects.toThrow(
      `${config} is a file: expected the name of a folder.`,
    );
    expect(existsSync(places.out)).toBe(false);
  });
});
