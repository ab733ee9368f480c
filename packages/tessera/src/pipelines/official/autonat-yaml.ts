/**
 * AutoNAT's own configuration file (`configs/AutoNAT_L.yaml`), read as it is: network, optimizer and data settings under
 * our names. Values that this house fixes (AdamW, skip connections, the ignored index) must be the ones given there;
 * `nnet.num_classes` counts the null label, ours does not. The strategy file beside it is read by `fromAutonatYaml`.
 */

import { parseConfig, strictConfig } from '@tessera/schedule';
import { parse as parseYaml } from 'yaml';
import { z } from 'zod';

const count = z.int().min(1);

const fileSchema = strictConfig({
  train: strictConfig({
    n_steps: count,
    batch_size: count,
    log_interval: count,
    save_interval: count,
  }),
  optimizer: strictConfig({
    name: z.literal('adamw'),
    lr: z.number().positive(),
    weight_decay: z.number().min(0),
    betas: z.tuple([z.number(), z.number()]),
    eps: z.number().positive().default(1e-8),
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
    skip: z.literal(true).default(true),
  }),
  muse: strictConfig({ ignore_ind: z.literal(-1).default(-1), smoothing: z.number().min(0).max(1) }),
  dataset: strictConfig({
    name: z.string(),
    path: z.string(),
    cfg: z.literal(true).default(true),
    p_uncond: z.number().min(0).max(1),
  }),
});

export interface AutonatYaml {
  /** The network's configuration. */
  model: {
    gridSize: number;
    codebookSize: number;
    numClasses: number;
    embedDim: number;
    depth: number;
    numHeads: number;
    mlpRatio: number;
  };
  training: {
    totalSteps: number;
    globalBatch: number;
    learningRate: number;
    warmupSteps: number;
    betas: [number, number];
    weightDecay: number;
    /** Steps between checkpoints. */
    checkpointEvery: number;
    labelSmoothing: number;
    labelDrop: number;
  };
  /** Where the file expects the tokens. */
  dataPath: string;
}

/** @param where names the file in errors */
export function readAutonatYaml(text: string, where: string): AutonatYaml {
  const { train, optimizer, lr_scheduler, nnet, muse, dataset } = parseConfig(
    fileSchema,
    parseYaml(text, { maxAliasCount: 0 }),
    where,
  );
  return {
    model: {
      gridSize: nnet.img_size,
      codebookSize: nnet.codebook_size,
      numClasses: nnet.num_classes - 1,
      embedDim: nnet.embed_dim,
      depth: nnet.depth,
      numHeads: nnet.num_heads,
      mlpRatio: nnet.mlp_ratio,
    },
    training: {
      totalSteps: train.n_steps,
      globalBatch: train.batch_size,
      learningRate: optimizer.lr,
      warmupSteps: lr_scheduler.warmup_steps,
      betas: optimizer.betas,
      weightDecay: optimizer.weight_decay,
      checkpointEvery: train.save_interval,
      labelSmoothing: muse.smoothing,
      labelDrop: dataset.p_uncond,
    },
    dataPath: dataset.path,
  };
}
