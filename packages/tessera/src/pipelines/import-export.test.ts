/** Import and export: round trips of every architecture, bit for bit, and one clear error for each bad checkpoint. */

import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  encodeTorchCheckpoint,
  flattenStateDict,
  OrderedDict,
  PickleTuple,
  readTorchCheckpoint,
  type TensorToWrite,
  type TorchWritable,
} from '@tessera/formats';
import { withFile } from '@tessera/formats/node';
import { noGrad, rand, scope, type Tensor } from '@tessera/torch';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { initialise, type Module } from '../nn/module.ts';
import { LlamaGenVq } from '../tokenizers/llamagen-vq.ts';
import { maskgitPreset } from '../tokenizers/maskgit-config.ts';
import { MaskgitVqgan } from '../tokenizers/maskgit-vqgan.ts';
import { vqPreset } from '../tokenizers/vq-config.ts';
import { type ExportOptions, exportCheckpoint } from './export-checkpoint.ts';
import { type ImportOptions, importCheckpoint } from './import-checkpoint.ts';
import { openAnyTokenizer, openModelFolder, openTokenizer, readTokenizerConfig } from './model-folder.ts';
import { writeTinyModel } from './tiny-model.test-support.ts';

let folder: string;
let maskgit: MaskgitVqgan;
let llamagen: LlamaGenVq;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'tessera import '));
  maskgit = initialise((p) => new MaskgitVqgan(maskgitPreset('maskgit-vqgan', { channels: 32, channelMultipliers: [1, 1, 1], resBlocks: 1, codebookSize: 32, codeDim: 4 }), p)); // biome-ignore format: one row
  llamagen = initialise((p) => new LlamaGenVq(vqPreset('llamagen-vq8', { channels: 32, channelMultipliers: [1, 1], latentChannels: 8, codebookSize: 16, codeDim: 4, encoderResBlocks: 1, decoderResBlocks: 1, usageFifo: 8 }), p)); // biome-ignore format: one row
});

afterAll(() => {
  maskgit.dispose();
  llamagen.dispose();
  rmSync(folder, { recursive: true, force: true });
});

const at = (...names: string[]): string => join(folder, ...names);

async function run(
  events: AsyncGenerator<{ kind: string; result?: unknown; message?: string }>,
): Promise<Record<string, unknown>> {
  let result: unknown;
  for await (const event of events) if (event.kind === 'result') result = event.result;
  return result as Record<string, unknown>;
}
const bring = (source: string, out: string, options: Partial<ImportOptions> = {}) =>
  run(importCheckpoint({ source, out, ...options }));
const send = (source: string, out: string, options: Partial<ExportOptions> = {}) =>
  run(exportCheckpoint({ source, out, ...options }));

function stateDict(
  module: Module,
  change: (name: string, tensor: Tensor) => Tensor | undefined = (_, t) => t,
  prefix = '',
): OrderedDict<TensorToWrite> {
  return scope(() => {
    const entries = [...module.state].flatMap(([name, tensor]) => {
      const changed = change(name, tensor.detach());
      if (changed === undefined) return [];
      const { dtype, shape } = changed;
      return [[prefix + name, { dtype, shape, bytes: changed.toBytes() }] as const];
    });
    return new OrderedDict(entries);
  });
}

function save(name: string, value: TorchWritable): string {
  writeFileSync(at(name), encodeTorchCheckpoint(value));
  return at(name);
}

function content(path: string, entry?: string): Map<string, [string, number[], string]> {
  return withFile(path, (reader) => {
    const tensors = flattenStateDict(readTorchCheckpoint(reader, { verify: true }), entry === undefined ? [] : [entry]);
    return new Map(
      [...tensors].map(([name, t]) => [
        name,
        [t.dtype, [...t.shape], Buffer.from(t.contiguousBytes()).toString('base64')],
      ]),
    );
  });
}

describe('tokenizers', () => {
  it.each<[string, () => Module, (dict: OrderedDict<TensorToWrite>) => TorchWritable, string, string]>([
    ['bare', () => maskgit, (dict) => dict, '', 'state_dict'],
    ['under state_dict', () => maskgit, (dict) => new Map([['state_dict', dict]]), '', 'state_dict'],
    ['of a data-parallel run', () => maskgit, (dict) => new Map<string, TorchWritable>([['epoch', 3], ['model', dict]]), 'module.', 'state_dict'],
    ['compiled', () => llamagen, (dict) => new Map([['model', dict]]), 'module._orig_mod.', 'model'],
    ['under ema alone', () => llamagen, (dict) => new Map([['ema', dict]]), '', 'model'],
  ])('come in %s and go out as the official code wants them', async (label, module, wrap, prefix, entry) => {
    const source = save('tokenizer.pt', wrap(stateDict(module(), undefined, prefix)));
    const result = await bring(source, at(label));
    expect(result).toMatchObject({ part: 'tokenizer', tensors: module().state.size });
    const back = at(`${label}.pt`);
    await send(at(label), back);
    await expect(send(at(label), back)).rejects.toThrow(`${back} is there already: choose another name, or remove it.`);
    save('plain.pt', stateDict(module()));
    expect([...content(back, entry)]).toEqual([...content(at('plain.pt'))]);
    const opened = openTokenizer(at(label));
    noGrad(() =>
      scope(() => {
        const images = rand([1, 3, 8, 8]);
        const same = module() === maskgit ? maskgit : llamagen;
        expect(opened.reconstruct(images).equal(same.reconstruct(images))).toBe(true);
      }),
    );
    opened.dispose();
  }); // biome-ignore format: rows

  it('come back where only their preset tells the groups of the norms', async () => {
    const preset = { ...vqPreset('vq-small'), codebookSize: 512 };
    const small = initialise((p) => new LlamaGenVq(preset, p));
    await bring(save('small.pt', new Map([['model', stateDict(small)]])), at('small'));
    expect(readTokenizerConfig(at('small')).config).toEqual(preset);
    small.dispose();
  });

  it('open from an official file as it is', () => {
    const { tokenizer, imageSize } = openAnyTokenizer(
      save('official.ckpt', new Map([['state_dict', stateDict(maskgit)]])),
    );
    expect([tokenizer.family, tokenizer.config, imageSize]).toEqual(['maskgit-vqgan', maskgit.config, undefined]);
    for (const [name, tensor] of maskgit.state) expect(tokenizer.state.get(name)!.equal(tensor), name).toBe(true);
    tokenizer.dispose();
    const wrong = save(
      'wrong.pt',
      new Map([['tok_embeddings.weight', { dtype: 'uint8', shape: [1], bytes: Uint8Array.of(1) }]]),
    );
    expect(() => openAnyTokenizer(wrong)).toThrow(
      "expected a tokenizer, but it looks like a part of a GPT of LlamaGen's",
    );
  });

  it('replace a folder of their kind, with a slash at the end of its name too, and nothing else', async () => {
    const source = save('replacing.pt', stateDict(maskgit));
    for (const out of [at('replaced'), at('replaced'), `${at('replaced')}/`]) {
      await bring(source, out);
      openTokenizer(at('replaced')).dispose();
    }
    mkdirSync(at('own'));
    writeFileSync(at('own', 'notes.txt'), 'mine');
    await expect(bring(source, at('own'))).rejects.toThrow('has no config.json');
    mkdirSync(at('holding'));
    writeFileSync(at('holding', 'config.json'), '{}');
    writeFileSync(at('holding', 'weights.pt'), readFileSync(source));
    await expect(bring(at('holding', 'weights.pt'), at('holding'))).rejects.toThrow('which is read');
    expect(existsSync(at('holding', 'weights.pt'))).toBe(true);
    expect(readFileSync(at('own', 'notes.txt'), 'utf8')).toBe('mine');
    await expect(send(at('replaced'), at('own'))).rejects.toThrow('is a folder: expected the name of the file');
  });

  it('keep the type of their weights', async () => {
    const source = save(
      'half.pt',
      stateDict(maskgit, (_, tensor) => tensor.to('bfloat16')),
    );
    await bring(source, at('half'));
    await send(at('half'), at('half-back.pt'));
    expect([...content(at('half-back.pt'), 'state_dict')]).toEqual([...content(source)]);
  });

  it('say which state dicts there are, and take the one named', async () => {
    const zeros = stateDict(llamagen, (_, tensor) => tensor.zerosLike());
    const source = save('both.pt', new Map([['model', stateDict(llamagen)], ['ema', zeros]])); // biome-ignore format: short
    const notes: string[] = [];
    for await (const event of importCheckpoint({ source, out: at('both') }))
      if (event.kind === 'note') notes.push(event.message);
    expect(notes).toEqual(['taken: the weights under "model"; there are others under ema (--entry)']);
    await bring(source, at('both'), { entry: 'ema' });
    await send(at('both'), at('both-back.pt'));
    expect([...content(at('both-back.pt'), 'model')]).toEqual([...content(source, 'ema')]);
    await expect(bring(source, at('both'), { entry: 'net' })).rejects.toThrow(
      'expected weights under "net"; there is model, ema',
    );
  });
});

describe('a model', () => {
  it('comes back from its own export', async () => {
    writeTinyModel(at('tiny'));
    await send(at('tiny'), at('nnet_ema.pth'));
    await send(at('tiny'), at('vq.pt'), { part: 'tokenizer' });
    // The shapes do not tell the groups of the norms, so the tokenizer comes from its folder.
    const given = { encoderDepth: 2, numHeads: 2, tokenizer: at('tiny', 'tokenizer') };
    expect(await bring(at('nnet_ema.pth'), at('again'), given)).toMatchObject({ family: 'enat', part: 'generator' });
    const [before, after] = [openModelFolder(at('tiny')), openModelFolder(at('again'))];
    for (const [name, tensor] of before.model.state)
      expect(after.model.state.get(name)!.equal(tensor), name).toBe(true);
    for (const [name, tensor] of before.tokenizer.state)
      expect(after.tokenizer.state.get(name)!.equal(tensor), name).toBe(true);
    expect(after).toMatchObject({ imageSize: 16, classes: ['0', '1', '2'] });
    before.dispose();
    after.dispose();
  });

  it('takes a tokenizer file, whose codebook must be the model\'s', async () => {
    const vq = save('small-vq.pt', stateDict(llamagen));
    await expect(bring(at('nnet_ema.pth'), at('x'), { encoderDepth: 2, numHeads: 2, tokenizer: vq })).rejects.toThrow('the model has a codebook of 32, the tokenizer of 16');
    expect(existsSync(at('x'))).toBe(false);
    const matching = save('maskgit.ckpt', stateDict(maskgit));
    await bring(at('nnet_ema.pth'), at('mixed'), { encoderDepth: 2, numHeads: 2, tokenizer: matching });
    const opened = openModelFolder(at('mixed'));
    expect([opened.tokenizer.family, opened.imageSize]).toEqual(['maskgit-vqgan', 16]);
    opened.dispose();
  }); // biome-ignore format: long lines

  it('needs what its shapes do not tell, and a tokenizer', async () => {
    await expect(bring(at('nnet_ema.pth'), at('x'), { tokenizer: at('tiny') })).rejects.toThrow('--num-heads');
    await expect(bring(at('nnet_ema.pth'), at('x'), { encoderDepth: 2, numHeads: 2 })).rejects.toThrow('--tokenizer');
  });

  it('has no five files without a training state', async () => {
    await expect(send(at('tiny'), at('7.ckpt'), { checkpointFolder: true })).rejects.toThrow('training/training.json');
    await expect(send(at('bare'), at('7.ckpt'), { checkpointFolder: true })).rejects.toThrow(
      'has no checkpoint folder',
    );
    expect(existsSync(at('7.ckpt'))).toBe(false);
  });

  it('goes through the five files and back', async () => {
    const net = withFile(at('nnet_ema.pth'), (reader) => new OrderedDict([...flattenStateDict(readTorchCheckpoint(reader))].map(([name, t]) => [name, { dtype: t.dtype, shape: t.shape, bytes: t.contiguousBytes().slice() }]))); // biome-ignore format: one row
    mkdirSync(at('5.ckpt'));
    const step: TensorToWrite = { dtype: 'float32', shape: [], bytes: new Uint8Array(Float32Array.of(5).buffer) };
    const moments = [...net.values()].map((tensor, i) => [i, new Map([['step', { ...step }], ['exp_avg', { ...tensor }], ['exp_avg_sq', { ...tensor }]])] as const); // biome-ignore format: one row
    moments.splice(3, 1); // a parameter that never had a gradient
    const settings = new Map<string, TorchWritable>([['lr', 0.0004], ['betas', new PickleTuple([0.99, 0.99])], ['foreach', null], ['amsgrad', false], ['params', [...net.keys()].map((_, i) => i)]]); // biome-ignore format: one row
    const files: Record<string, TorchWritable> = {
      'nnet.pth': net,
      'nnet_ema.pth': net,
      'step.pth': 5,
      'lr_scheduler.pth': new Map<string, TorchWritable>([['base_lrs', [0.0004]], ['lr_lambdas', [null]]]),
      'optimizer.pth': new Map<string, TorchWritable>([['state', new Map<number, TorchWritable>(moments)], ['param_groups', [settings]]]),
    }; // biome-ignore format: rows
    for (const [file, value] of Object.entries(files)) writeFileSync(at('5.ckpt', file), encodeTorchCheckpoint(value, { name: file.slice(0, -4) }));
    await bring(at('5.ckpt'), at('resumed'), { encoderDepth: 2, numHeads: 2, tokenizer: at('tiny') });
    await send(at('resumed'), at('6.ckpt'), { checkpointFolder: true });
    for (const file of Object.keys(files)) expect(Buffer.compare(readFileSync(at('6.ckpt', file)), readFileSync(at('5.ckpt', file))), file).toBe(0);
    rmSync(at('5.ckpt', 'step.pth'));
    await expect(bring(at('5.ckpt'), at('resumed'), { encoderDepth: 2, numHeads: 2, tokenizer: at('tiny') })).rejects.toThrow('there is no step.pth');
  }); // biome-ignore format: long lines
});

describe('bad checkpoints', () => {
  const bad = async (value: TorchWritable, options: Partial<ImportOptions> = {}) => {
    const promise = bring(save('bad.pt', value), at('bad'), options);
    await promise.catch(() => {});
    expect(existsSync(at('bad')) || existsSync(at('bad.writing'))).toBe(false);
    return promise;
  };

  it.each<[string, () => TorchWritable, Partial<ImportOptions>, string]>([
    ['of another architecture', () => stateDict(llamagen), { family: 'maskgit-vqgan' }, 'expected maskgit-vqgan, but it looks like LlamaGen VQ'],
    ['of AutoNAT', () => new Map([['token_emb.word_embeddings.weight', one()]]), {}, 'looks like a part of an AutoNAT'],
    ['of something else', () => new Map([['a.b', one()], ['c', one()]]), {}, 'nothing known here (2 tensors: a.b, c)'],
    ['without tensors', () => new Map([['lr', 1]]), {}, 'expected a state dict, bare or under model, state_dict'],
    ['that is a list', () => [1, 2], {}, 'it is no dict'],
    ['with a tensor too few', () => stateDict(maskgit, (name, t) => (name === 'encoder.conv_out.bias' ? undefined : t)), {}, '1 missing (encoder.conv_out.bias)'],
    ['with a name misspelt', () => renamed('decoder.norm_out.bias', 'decoder.norm_out.bais'), {}, "decoder.norm_out.bias, perhaps the file's decoder.norm_out.bais"],
    ['with a shape that does not fit', () => stateDict(maskgit, (name, t) => (name === 'encoder.conv_out.weight' ? t.flatten() : t)), {}, 'encoder.conv_out.weight: expected [4, 32, 1, 1], got [128]'],
    ['with NaN', () => stateDict(maskgit, (name, t) => (name === 'encoder.conv_out.bias' ? t.mul(Number.NaN) : t)), {}, '"encoder.conv_out.bias" holds NaN or an infinite value (entry 0)'],
    ['with an infinity in half precision', () => stateDict(maskgit, (_, t) => t.to('float16').mul(1e30)), {}, 'holds NaN or an infinite value'],
  ])('%s', async (_, value, options, message) => {
    await expect(bad(value(), options)).rejects.toThrow(message);
  }); // biome-ignore format: rows

  function one(): TensorToWrite {
    return { dtype: 'uint8', shape: [1], bytes: Uint8Array.of(1) };
  }

  function renamed(from: string, to: string): TorchWritable {
    return new OrderedDict([...stateDict(maskgit)].map(([name, tensor]) => [name === from ? to : name, tensor]));
  }

  it('cut off', async () => {
    const whole = encodeTorchCheckpoint(stateDict(maskgit));
    for (const length of [0, 100, whole.length >> 1, whole.length - 1]) {
      writeFileSync(at('cut.pt'), whole.subarray(0, length));
      await expect(bring(at('cut.pt'), at('cut'))).rejects.toMatchObject({ name: 'FormatError' });
      expect(existsSync(at('cut'))).toBe(false);
    }
  });

  it('damaged inside a tensor', async () => {
    const whole = encodeTorchCheckpoint(stateDict(maskgit));
    whole[whole.length >> 1]! ^= 1;
    writeFileSync(at('damaged.pt'), whole);
    await expect(bring(at('damaged.pt'), at('damaged'))).rejects.toMatchObject({ code: 'zip.crc' });
  });

  it('that are not there', async () => {
    await expect(bring(at('gone.pt'), at('x'))).rejects.toMatchObject({ code: 'NOT_FOUND' });
    await expect(bring(at('tiny'), at('x'))).rejects.toThrow('a folder with nnet_ema.pth in it');
  });
});
