/** The LlamaGen tokenizer and its quantizer from a manifest's configuration and weights. */

import { empty, fromTypedArray, linspace, noGrad, stack, type Tensor } from '@tessera/torch';
import {
  beside,
  LlamaGenVq,
  loadModule,
  MaskgitVqgan,
  ParameterBuilder,
  VectorQuantizer,
  type VqConfig,
  type VqConfigInput,
  vqConfigSchema,
} from 'tessera';
import type { Output } from '../compare.ts';
import type { Json } from '../golden-set.ts';
import { hashImage } from '../hash-image.ts';
import type { CaseContext, Runner } from '../runner.ts';
import { maskgitConfig } from './maskgit-vq.ts';

export function vqConfig(config: Record<string, Json>): VqConfig {
  const fields = Object.keys(vqConfigSchema.shape).filter((name) => config[name] !== undefined);
  return vqConfigSchema.parse(Object.fromEntries(fields.map((name) => [name, config[name]])) as VqConfigInput);
}

/** The case's tokenizer, owned by the caller. */
export function vqModel(context: CaseContext): LlamaGenVq {
  return loadModule((p) => new LlamaGenVq(vqConfig(context.config), p), context.weights(), context.golden.id);
}

/** Input `image` is in the network's own range. */
export const vqCodec: Runner = (context) =>
  noGrad(() => {
    const model = vqModel(context);
    const activations = new Map<string, Output>();
    const probe = (place: string, value: Tensor): void => void activations.set(place, value);
    const latent = model.encodeToLatent(context.tensor('image'), probe);
    const { tokens, quantized } = model.quantize(latent);
    const decoded = model.decodeLatent(quantized, probe);
    const [, , y, x] = latent.shape as [number, number, number, number];
    const decodedFromIds = model.decodeLatent(model.quantizer.lookUp(tokens, y, x));
    const tokensAlone = model.quantizer.tokens(latent);
    model.dispose();
    if (!tokens.equal(tokensAlone)) throw new Error('tokens() and quantize() disagree');
    return { quantized, ids: tokens, decoded, decodedFromIds, activations };
  });

export const vqQuantizer: Runner = (context) => {
  const codebook = context.tensor('codebook');
  const { usageFifo, totalForGrad } = context.golden.params as { usageFifo: number; totalForGrad?: string };
  const quantizer = quantizerWith(codebook, context, usageFifo);
  const latent = context.tensor('latent').requiresGrad_();
  quantizer.table.requiresGrad_();
  const { tokens, quantized, losses } = quantizer.quantize(latent);
  const outputs: Record<string, Output | undefined> = {
    ids: tokens,
    quantized: quantized.detach(),
    vqLoss: losses.codebook.detach(),
    commitLoss: losses.commitment.detach(),
    entropyLoss: losses.entropy?.detach(),
    usage: noGrad(() => quantizer.recordUsage(tokens)),
  };
  if (context.wants('gradLatent')) {
    if (totalForGrad !== TOTAL) throw new Error(`expected totalForGrad ${TOTAL}, got ${totalForGrad}`);
    const { numel } = quantized;
    const weighted = quantized
      .contiguous()
      .view([numel])
      .mul(beside(linspace(0, 1, numel), latent))
      .sum();
    let total = losses.codebook.add(losses.commitment).add(weighted);
    if (losses.entropy !== undefined) total = total.add(losses.entropy);
    total.backward();
    outputs.gradLatent = latent.grad!;
    outputs.gradCodebook = quantizer.table.grad!;
  }
  return outputs;
};

const TOTAL = 'vqLoss+commitLoss+entropyLoss+sum(quantized*linspace(0,1,numel))';

function quantizerWith(codebook: Tensor, context: CaseContext, usageFifo: number): VectorQuantizer {
  const config = {
    codebookSize: codebook.size(0),
    codeDim: codebook.size(1),
    l2Norm: context.param<boolean>('l2Norm'),
    commitBeta: context.param<number>('commitBeta'),
    entropyRatio: context.param<number>('entropyRatio'),
    usageFifo,
  };
  const source = {
    take: (name: string, shape: readonly number[]): Tensor =>
      name === 'embedding.weight'
        ? codebook.clone()
        : empty(shape, { device: codebook.device }).fill_(context.optional<number>('usageFifoInit') ?? 0),
  };
  return new VectorQuantizer(new ParameterBuilder(source), config);
}

/** Names and shapes of the whole state of either tokenizer; nothing is initialised. */
export const tokenizerStateShapes: Runner = (context) => {
  const shapes: Record<string, number[]> = {};
  const placeholder = empty([0]);
  const source = {
    take: (name: string, shape: readonly number[]): Tensor => {
      shapes[name] = [...shape];
      return placeholder;
    },
  };
  const builder = new ParameterBuilder(source);
  if (context.config.network === 'maskgit-vqgan') new MaskgitVqgan(maskgitConfig(context.config), builder);
  else new LlamaGenVq(vqConfig(context.config), builder);
  const known = context.reader.json(context.golden.file!, []) as Record<string, Json>;
  const extra = Object.keys(shapes).filter((name) => known[name] === undefined);
  if (extra.length > 0) throw new Error(`names that the reference does not have: ${extra.slice(0, 6).join(', ')}`);
  const order = Object.keys(known).filter((name) => shapes[name] !== undefined);
  if (order.join() !== Object.keys(shapes).join()) throw new Error('the order of the tensors is not the official one');
  return { shapes };
};

/** Images of a rule and salts, brought to the network's range as `transform` says. */
export const hashImages: Runner = (context) => {
  const { rule, height, width, salts, transform } = context.golden.params as {
    rule: string;
    height: number;
    width: number;
    salts: number[];
    transform: string;
  };
  if (transform !== TRANSFORM) throw new Error(`expected the transform ${TRANSFORM}, got ${transform}`);
  const images = salts.map((salt) => {
    const { shape, data } = hashImage(
      { imageRule: rule, height, width, salt: String(salt) },
      context.reader.folder.rules,
    );
    return fromTypedArray(data, shape).permute([2, 0, 1]).to('float32').div(127.5).sub(1);
  });
  return { images: stack(images) };
};

const TRANSFORM = 'u8/127.5-1, channel first';
