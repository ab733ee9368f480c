/**
 * The released AutoNAT's training configuration (`configs/AutoNAT_L.yaml`) as settings of ours. Keys that only steer its
 * machinery are read and dropped; unknown ones are refused, since a setting that is passed over trains another model.
 */

import { parseConfig, strictConfig } from '@tessera/schedule';
import { z } from 'zod';
import type { TrainFile } from '../train-settings.ts';

const count = z.int().min(1);

const officialSchema = strictConfig({
  train: strictConfig({
    n_steps: count,
    batch_size: count,
    log_interval: count.optional(),
    eval_interval: count.optional(),
    save_interval: count.optional(),
  }),
  optimizer: strictConfig({
    name: z.literal('adamw'),
    lr: z.number().positive(),
    weight_decay: z.number().min(0),
    betas: z.tuple([z.number(), z.number()]),
    eps: z.literal(1e-8).default(1e-8),
  }),
  lr_scheduler: strictConfig({ name: z.literal('customized'), warmup_steps: z.int().min(0) }),
  nnet: strictConfig({
    img_size: count,
    codebook_size: count,
    embed_dim: count,
    depth: count,
    num_heads: count,
    mlp_ratio: z.number().positive(),
    qkv_bias: z.literal(false),
    num_classes: z.int().min(2),
    use_checkpoint: z.boolean().default(false),
    skip: z.literal(true),
  }),
  muse: strictConfig({ ignore_ind: z.literal(-1).default(-1), smoothing: z.number().min(0).max(1) }),
  dataset: strictConfig({
    name: z.string(),
    path: z.string().min(1),
    cfg: z.boolean(),
    p_uncond: z.number().min(0).max(1),
  }),
});

export function isOfficialAutonat(content: unknown): boolean {
  return typeof content === 'object' && content !== null && 'nnet' in content && 'muse' in content;
}

/** @param where names the file in errors */
export function fromOfficialAutonat(content: unknown, where: string): TrainFile {
  const { train, optimizer, lr_scheduler, nnet, muse, dataset } = parseConfig(officialSchema, content, where);
  return {
    model: 'autonat-l',
    network: {
      gridSize: nnet.img_size,
      codebookSize: nnet.codebook_size,
      embedDim: nnet.embed_dim,
      depth: nnet.depth,
      numHeads: nnet.num_heads,
      mlpRatio: nnet.mlp_ratio,
      // Its count has the null class in it.
      numClasses: nnet.num_classes - 1,
    },
    data: [`${dataset.path.replace(/\/+$/, '')}/train.npy`],
    recipe: { labelSmoothing: muse.smoothing, labelDrop: dataset.cfg ? dataset.p_uncond : 0 },
    training: {
      totalSteps: train.n_steps,
      globalBatch: train.batch_size,
      learningRate: { kind: 'constant', base: optimizer.lr, warmupSteps: lr_scheduler.warmup_steps },
      weightDecay: optimizer.weight_decay,
      betas: optimizer.betas,
      ...(train.log_interval === undefined ? {} : { logEvery: train.log_interval }),
      ...(train.save_interval === undefined ? {} : { checkpointEvery: train.save_interval }),
    },
    ...(nnet.use_checkpoint ? { recompute: true } : {}),
  };
}
