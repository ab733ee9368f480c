import { appendFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  concatBytes,
  encodeNpy,
  encodeNpz,
  encodeOnnx,
  encodeSafetensors,
  FormatError,
  zipChunks,
} from '@tessera/formats';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { printInspection } from '../cli/print-inspection.ts';
import { TokenDatasetWriter } from '../data/token-dataset.ts';
import type { Inspection } from './inspect/inspection.ts';
import { type InspectOptions, inspect } from './inspect.ts';
import { TINY_CLASSES, writeTinyModel } from './tiny-model.test-support.ts';

let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'tessera inspect '));
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function look(path: string, options: Omit<InspectOptions, 'path'> = {}): Promise<unknown> {
  for await (const event of inspect({ path, ...options })) if (event.kind === 'result') return event.result;
  return undefined;
}

const numbers = { dtype: 'int16', shape: [2, 3], data: new Int16Array(6) } as const;

/** A pickle of {'lr': 0.5, 'steps': [1, 2], 'note': None}, protocol 2, in torch.save's zip layout. */
function checkpoint(): Uint8Array {
  const text = (word: string): number[] => [0x58, word.length, 0, 0, 0, ...Buffer.from(word)];
  const pickle = [
    ...[0x80, 2, 0x7d, 0x28],
    ...[...text('lr'), 0x47, 0x3f, 0xe0, 0, 0, 0, 0, 0, 0],
    ...[...text('steps'), 0x5d, 0x28, 0x4b, 1, 0x4b, 2, 0x65],
    ...[...text('note'), 0x4e, 0x75, 0x2e],
  ];
  const entries = [
    { name: 'x/data.pkl', bytes: Uint8Array.from(pickle) },
    { name: 'x/version', bytes: Buffer.from('3\n') },
  ];
  return concatBytes(zipChunks(entries));
}

const SAMPLES: Record<string, () => Uint8Array> = {
  npy: () => encodeNpy(numbers),
  npz: () => encodeNpz([['a', numbers], ['b', numbers]], { method: 'deflate' }), // biome-ignore format: one row
  safetensors: () =>
    encodeSafetensors([['w', { dtype: 'int16', shape: [2, 3], bytes: new Uint8Array(12) }]], { made: 'here' }),
  checkpoint,
  onnx: () =>
    encodeOnnx({
      opset: 20,
      producer: 'here',
      graph: {
        name: 'twice',
        nodes: ['a', 'b'].map((output, i) => ({
          op: 'Add',
          name: output,
          inputs: [['x', 'a'][i]!, 'w'],
          outputs: [output],
          attributes: {},
        })),
        initializers: new Map([['w', { dtype: 'float32', shape: [2], bytes: new Uint8Array(8) }]]),
        inputs: [{ name: 'x', dtype: 'float32', shape: ['B', 2] }],
        outputs: [{ name: 'b', dtype: 'float32', shape: ['B', 2] }],
      },
    }),
};

describe('inspect a file', () => {
  it.each([
    ['npy', { format: 'npy', totals: { tensors: 1, elements: 6, byteLength: 12 } }],
    ['npz', { format: 'npz', totals: { tensors: 2, elements: 12, byteLength: 24 } }],
    ['safetensors', { format: 'safetensors', metadata: { made: 'here' }, totals: { tensors: 1 } }],
    [
      'checkpoint',
      {
        format: 'PyTorch checkpoint',
        values: [
          { name: 'lr', value: '0.5' },
          { name: 'steps', value: '[1, 2]' },
          { name: 'note', value: 'None' },
        ],
      },
    ],
    [
      'onnx',
      {
        format: 'ONNX',
        metadata: { opset: '20', producer: 'here' },
        tensors: [{ name: 'w', dtype: 'float32', shape: [2], byteLength: 8 }],
        values: [
          { name: 'inputs.x', value: 'float32 [B, 2]' },
          { name: 'outputs.b', value: 'float32 [B, 2]' },
          { name: 'nodes.Add', value: '2' },
        ],
      },
    ],
  ])('knows %s by its content', async (kind, expected) => {
    const path = join(folder, `${kind}.txt`);
    writeFileSync(path, SAMPLES[kind]!());
    expect(await look(path)).toMatchObject(expected);
  });

  it('filters names, and counts all', async () => {
    const path = join(folder, 'some.npz');
    writeFileSync(path, SAMPLES.npz!());
    expect(await look(path, { filter: 'b' })).toMatchObject({
      tensors: [{ name: 'b', dtype: 'int16', shape: [2, 3], byteLength: 12 }],
      totals: { tensors: 2 },
    });
  });

  it.each(Object.keys(SAMPLES))('refuses %s cut off at any byte with a named error', async (kind) => {
    const whole = SAMPLES[kind]!();
    const path = join(folder, `cut-${kind}`);
    for (let length = 0; length < whole.length; length++) {
      writeFileSync(path, whole.subarray(0, length));
      await expect(look(path), `${length} of ${whole.length} bytes`).rejects.toBeInstanceOf(FormatError);
    }
  });

  it.each([
    ['an empty file', Buffer.alloc(0), 'got an empty file'],
    ['a picture', Buffer.from([0x89, 0x50, 0x4e, 0x47, 13, 10, 26, 10]), 'got a PNG picture'],
    ['an LFS pointer', Buffer.from('version https://git-lfs.github.com/spec/v1\n'), 'git lfs pull'],
    ['noise', Buffer.from([1, 2, 3]), 'got something else'],
    ['a lying header', Buffer.from([255, 255, 255, 3, 0, 0, 0, 0, 0x7b]), 'the file is cut off'],
  ])('says what %s is', async (name, bytes, message) => {
    const path = join(folder, name);
    writeFileSync(path, bytes);
    await expect(look(path)).rejects.toThrow(message);
  });

  it('says that there is nothing', async () => {
    await expect(look(join(folder, 'gone'))).rejects.toMatchObject({ code: 'NOT_FOUND' });
  });
});

describe('inspect a folder', () => {
  it('shows a model', async () => {
    const path = join(folder, 'model');
    writeTinyModel(path);
    expect(await look(path)).toMatchObject({
      kind: 'model',
      family: 'enat',
      imageSize: 16,
      classes: TINY_CLASSES,
      strategy: { steps: [{ maskedIn: 16 }, { guidanceScale: 2 }, {}] },
    });
  });

  it('shows a tokenizer, and a checkpoint of a run', async () => {
    const path = join(folder, 'model', 'tokenizer');
    const found = await look(path);
    expect(found).toMatchObject({
      kind: 'tokenizer',
      family: 'llamagen-vq',
      pixelsPerToken: 4,
      config: { codebookSize: 32 },
    });
    expect(printInspection(found as Inspection)).toMatch(/llamagen-vq, .* parameters, .*\na token is 4x4 pixels\n/);
    const checkpoint = join(folder, 'step-0000010');
    mkdirSync(checkpoint);
    writeFileSync(join(checkpoint, 'ema.safetensors'), SAMPLES.safetensors!());
    expect(await look(checkpoint)).toMatchObject({ kind: 'file', tensors: [{ name: 'w' }] });
  });

  it('shows the last metrics of a run, a broken last line notwithstanding', async () => {
    const path = join(folder, 'run');
    mkdirSync(join(path, 'checkpoints', 'step-0000020'), { recursive: true });
    mkdirSync(join(path, 'checkpoints', 'step-0000010'));
    const metrics = join(path, 'metrics.jsonl');
    writeFileSync(metrics, '{"step":10,"kind":"train","loss":2}\n{"step":10,"kind":"evaluation","loss":3}\n');
    appendFileSync(metrics, '{"step":20,"kind":"train","loss":1}\n{"step":30,"ki');
    expect(await look(path)).toMatchObject({
      kind: 'run',
      checkpoints: [10, 20],
      lastMetrics: [
        { step: 20, kind: 'train', loss: 1 },
        { step: 10, kind: 'evaluation', loss: 3 },
      ],
    });
  });

  it('counts a token data set, and decodes its rows', async () => {
    writeTinyModel(join(folder, 'other'));
    const path = join(folder, 'tokens');
    const writer = new TokenDatasetWriter(path, { gridSize: 4, codebookSize: 32, classes: ['a', 'b'] });
    for (const [label, code] of [[0, 3], [1, 9], [1, 3]]) writer.add(label!, new Array(16).fill(code)); // biome-ignore format: one row
    writer.finish();
    expect(await look(path)).toMatchObject({
      kind: 'tokens',
      numRows: 3,
      codesUsed: 2,
      classes: [
        { name: 'a', rows: 1 },
        { name: 'b', rows: 2 },
      ],
    });
    const out = join(folder, 'rows.png');
    await look(path, { images: 2, out, tokenizer: join(folder, 'other') });
    expect(await sharp(out).metadata()).toMatchObject({ width: 2 + 2 * 66, height: 2 + 66 });
    await expect(look(path, { images: 2 })).rejects.toMatchObject({ code: 'TOKENIZER' });
  });

  it('says what it expects of other folders', async () => {
    await expect(look(folder)).rejects.toThrow(/model folder .* run folder .* token data set/);
    await expect(look(join(folder, 'model'), { images: 3 })).rejects.toThrow(/no token data set/);
    await expect(look(join(folder, 'model'), { filter: 'x' })).rejects.toThrow('--filter is of a file');
    await expect(look('', { model: 'enat-nano', images: 3 })).rejects.toThrow('--images is of files and folders');
    const pictures = join(folder, 'pictures');
    mkdirSync(join(pictures, 'train'), { recursive: true });
    writeFileSync(join(pictures, 'dataset.json'), '{ "name": "emoji" }');
    await expect(look(pictures)).rejects.toThrow('is a data set of images: "tessera tokenize" makes tokens of it');
  });
});
