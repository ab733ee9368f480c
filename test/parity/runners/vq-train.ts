/** What trains a LlamaGen tokenizer: discriminators, LPIPS, the loss of both networks, and whole steps of the trainer. */

import { fromTypedArray, gradients, noGrad, ones, type Tensor } from '@tessera/torch';
import {
  LlamaGenVq,
  type Lpips,
  loadLpips,
  loadModule,
  Module,
  type NamedLoss,
  networkDevice,
  networksOf,
  type ParameterBuilder,
  PatchDiscriminator,
  resolveTrainingConfig,
  StyleganBlock,
  VqLoss,
  type VqLossConfig,
  vqLossSchema,
} from 'tessera';
import type { Output } from '../compare.ts';
import type { Json } from '../golden-set.ts';
import type { CaseContext, Runner } from '../runner.ts';
import { vggHash } from '../vgg-hash.ts';
import { vqConfig } from './llamagen-vq.ts';

interface PatchganParams {
  baseChannels: number;
  numLayers: number;
}

export const patchgan: Runner = (context) =>
  noGrad(() => {
    const params = context.golden.params as unknown as PatchganParams;
    const network = loadModule((p) => new PatchDiscriminator(p, params), context.weights(), context.golden.id);
    const x = context.tensor('x');
    const logitsTrain = network.forward(x, true);
    const buffers = [...network.state].filter(([name]) => !network.parameters.has(name));
    const buffersAfter = new Map<string, Output>(buffers.map(([name, tensor]) => [name, tensor.clone()]));
    const logitsEval = network.forward(x, false);
    network.dispose();
    return { logitsTrain, buffersAfter, logitsEval };
  });

export const styleganBlock: Runner = (context) =>
  noGrad(() => {
    class Block extends Module {
      readonly block: StyleganBlock;
      constructor(p: ParameterBuilder) {
        super(p);
        this.block = new StyleganBlock(p, context.param<number>('inChannels'), context.param<number>('outChannels'));
      }
    }
    const network = loadModule((p) => new Block(p), context.weights(), context.golden.id);
    const x = context.tensor('x');
    const outputs = { blur: network.block.blur(x), out: network.block.forward(x) };
    network.dispose();
    return outputs;
  });

/** VGG16's weights by a manifest's rule, made once: fifteen million hashes. */
const vggValues = new WeakMap<object, ReturnType<typeof vggHash>[]>();

/** With VGG16's weights by the rule of the manifest and the five maps from it. */
function lpipsOf(context: CaseContext): Lpips {
  const { vgg } = context.golden.extraWeights as unknown as { vgg: { rule: string } };
  const { rules } = context.reader.folder;
  // Where torchvision's vgg16 has its convolutions: poolings and activations count too.
  const places = [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28];
  const names = places.flatMap((place, conv) =>
    ['weight', 'bias'].map((part) => [`features.${place}.${part}`, `conv${conv}.${part}`] as const),
  );
  const key = rules[vgg.rule] as object;
  const values = vggValues.get(key) ?? names.map(([, name]) => vggHash(rules, vgg.rule, name));
  vggValues.set(key, values);
  const tensors = new Map<string, Tensor>(
    names.map(([name], i) => [name, fromTypedArray(values[i]!.data, values[i]!.shape)]),
  );
  for (const [index, map] of context.weights('lins')) tensors.set(`lin${index}.model.1.weight`, map);
  return loadLpips(tensors, context.golden.id);
}

export const lpips: Runner = (context) => {
  const network = lpipsOf(context);
  const a = context.tensor('a');
  const b = context.tensor('b').requiresGrad_();
  const distance = network.distance(a, b, context.param<number>('dropout'));
  const gradB = gradients([distance.mean()], [b])[0]!;
  const features = noGrad(() => network.features(a));
  const means = features.map((feature, i): [string, Output] => [String(i), feature.abs().mean([1, 2, 3])]);
  network.dispose();
  return { distance: distance.detach(), featureMeanAbs: new Map(means), feature4: features[4], gradB };
};

/** The parameters of a manifest as settings of the loss. */
function lossConfig({ params }: CaseContext['golden']): VqLossConfig {
  const { reconstructionLoss, reconstructionWeight, discriminator, discStart, discWeight, generatorAdversarialLoss } =
    params as Record<string, Json>;
  const { baseChannels, numLayers } = discriminator as unknown as PatchganParams;
  return vqLossSchema.parse({
    l2Weight: reconstructionLoss === 'l2' ? reconstructionWeight : 0,
    l1Weight: reconstructionLoss === 'l1' ? reconstructionWeight : 0,
    perceptualWeight: params.perceptualWeight,
    perceptualDropout: (params.lpips as Record<string, number>).dropout,
    codebookWeight: params.codebookWeight ?? 1,
    discriminator: { kind: 'patchgan', baseChannels, numLayers },
    adversarialWeight: discWeight,
    discriminatorLoss: params.discriminatorLoss,
    generatorLoss: generatorAdversarialLoss,
    discriminatorStart: discStart,
    adaptiveWeight: params.adaptiveWeight,
    exactOriginal: true,
  });
}

function discriminatorOf(context: CaseContext): PatchDiscriminator {
  const params = context.param<Record<string, Json>>('discriminator') as unknown as PatchganParams;
  return loadModule((p) => new PatchDiscriminator(p, params), context.weights('discriminator'), context.golden.id);
}

export const vqLoss: Runner = (context) => {
  const config = lossConfig(context.golden);
  const networks = { lpips: lpipsOf(context), discriminator: discriminatorOf(context).trainable() };
  const losses = new VqLoss(config, networks);
  const { value } = context.param<{ value: number[] }>('lastLayer');
  const lastLayer = ones([value.length], { device: networkDevice() }).mul(value[0]!).requiresGrad_();
  const reconstruction = context.tensor('recon').mul(lastLayer);
  const [codebook, commitment, entropy] = context.tensor('codebookLosses').unbind() as [Tensor, Tensor, Tensor];
  const input = {
    images: context.tensor('images'),
    reconstruction,
    codebook: { codebook, commitment, entropy },
    lastLayer,
  };
  const step = context.param<number>('globalStep') - 1; // Theirs counts from 1.
  const generator = losses.ofTokenizer(input, step);
  const discriminator = losses.ofDiscriminator(input, step)!;
  const discriminatorWeight = losses.adversarialWeightAt(step);
  const { metrics } = generator;
  for (const network of Object.values(networks)) network.dispose();
  return {
    generatorLoss: generator.loss.detach(),
    discriminatorLoss: discriminator.loss.detach(),
    generatorComponents: new Map<string, Output>([
      ['reconstruction', number(metrics.reconstruction)],
      ['perceptual', number(metrics.perceptual)],
      ['vq', number(metrics.codebook)],
      ['commit', number(metrics.commitment)],
      ['entropy', number(metrics.entropy)],
      ['usage', context.param<number>('codebookUsage')],
      ['generatorAdversarial', number(metrics.weightedAdversarial)],
      ['adaptiveWeight', number(metrics.adaptiveWeight ?? 1)],
      ['discriminatorWeight', discriminatorWeight],
    ]),
    discriminatorComponents: new Map<string, Output>([
      ['discriminatorAdversarial', discriminator.loss.item()],
      ['discriminatorWeight', discriminatorWeight],
      ['logitsReal', number(discriminator.metrics.logitsReal)],
      ['logitsFake', number(discriminator.metrics.logitsFake)],
    ]),
  };
};

function number(value: Tensor | number | undefined): number {
  if (value === undefined) throw new Error('expected a component of the loss');
  return typeof value === 'number' ? value : value.item();
}

/** Steps of the training loop's own networks, optimizers and averages, on the images given. */
export const vqTrainSteps: Runner = (context) => {
  const config = vqConfig(context.config);
  const build = (): LlamaGenVq => {
    const weights = context.weights();
    if (config.usageFifo > 0) weights.set('quantize.codebook_used', fromTypedArray(new Float32Array(config.usageFifo)));
    return loadModule((p) => new LlamaGenVq(config, p), weights, context.golden.id);
  };
  const [model, ema, discriminator] = [build(), build(), discriminatorOf(context)];
  const perceptual = lpipsOf(context);
  const lossOf = new VqLoss(lossConfig(context.golden), { lpips: perceptual, discriminator });
  const numSteps = context.param<number>('numSteps');
  const training = resolveTrainingConfig({
    globalBatch: 1,
    totalSteps: numSteps,
    learningRate: { kind: 'constant', base: context.param<number>('lr') },
    betas: context.param<number[]>('betas'),
    eps: context.param<number>('eps'),
    weightDecay: context.param<number>('weightDecay'),
    clip: context.param<number>('gradClip'),
    ema: { decay: context.param<number>('emaDecay'), warmup: false },
  });
  const parts = [{ name: 'discriminator', model: discriminator }];
  const task = { name: 'vq', model, ema, parts, numItems: 1, shardLoss: (): never => { throw new Error('not asked'); } }; // biome-ignore format: one row
  const networks = networksOf(task, training);
  const firstStep = context.param<number>('firstGlobalStep') - 1;

  const records: Record<string, number[]> = {};
  const record = (name: string, value: number): void => {
    records[name] = [...(records[name] ?? []), value];
  };
  for (let index = 0; index < numSteps; index++) {
    const images = context.tensor('images').select(0, index).to('float32').div(127.5).sub(1);
    const { tokens, quantized, losses } = model.quantize(model.encodeToLatent(images));
    const lastLayer = model.state.get('decoder.conv_out.weight')!;
    const input = { images, reconstruction: model.decodeLatent(quantized), codebook: losses, lastLayer };
    const results: NamedLoss[] = [
      lossOf.ofTokenizer(input, firstStep + index),
      lossOf.ofDiscriminator(input, firstStep + index)!,
    ];
    record('codebookUsage', noGrad(() => model.quantizer.recordUsage(tokens)?.item()) ?? 0);
    record('vqLoss', losses.codebook.item());
    record('commitLoss', losses.commitment.item());
    for (const [i, network] of networks.entries()) {
      const whose = i === 0 ? 'generator' : 'discriminator';
      const { loss } = results[i]!;
      record(`${whose}Loss`, loss.item());
      network.collect(loss);
      const norm = network.gradientNorm();
      record(`${whose}GradNorm`, norm);
      network.update(index, norm);
      network.clearGradients();
    }
  }
  const fields = (network: number, field: string): Map<string, Output> =>
    new Map(
      [...networks[network]!.moments()].flatMap(([name, value]) =>
        name.endsWith(`.${field}`) ? [[name.slice(0, -field.length - 1), value.clone()] as const] : [],
      ),
    );
  const outputs = {
    ...records,
    model: copies(model),
    ema: copies(ema),
    discriminator: copies(discriminator),
    usageFifo: model.state.get('quantize.codebook_used')?.clone(),
    steps: numSteps,
    expAvg: fields(0, 'exp_avg'),
    expAvgSq: fields(0, 'exp_avg_sq'),
    discriminatorExpAvg: fields(1, 'exp_avg'),
    discriminatorExpAvgSq: fields(1, 'exp_avg_sq'),
  };
  for (const owned of [...networks, model, ema, discriminator, perceptual]) owned.dispose();
  return outputs;
};

function copies({ state }: Module): Map<string, Output> {
  return noGrad(() => new Map([...state].map(([name, tensor]) => [name, tensor.clone()])));
}
