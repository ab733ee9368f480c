/**
 * `tessera fit`: a folder of images in, a generator out. Images, plan, tokenizer, tokens, generator, model folder,
 * samples, report; each stage leaves something whole on disk, so the same command goes on where it was stopped.
 */

import { mkdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { getNumThreads, setNumThreads, torchVersion } from '@tessera/torch';
import { LlamaGenVq } from '../tokenizers/llamagen-vq.ts';
import { PipelineError, type PipelineEvent } from './events.ts';
import { finishStage } from './fit/finish-stage.ts';
import { generatorStage } from './fit/generator-stage.ts';
import { type FitImages, loadFitImages } from './fit/images.ts';
import { makePlan, type TokenizerChoice } from './fit/make-plan.ts';
import { type FitPlan, hasPlan, readPlan, writePlan } from './fit/plan.ts';
import { shippedModel } from './fit/shipped-models.ts';
import { tokenizerStage } from './fit/tokenizer-stage.ts';
import { tokensStage } from './fit/tokens-stage.ts';
import { openTokenizer } from './model-folder.ts';

export interface FitOptions {
  /** Folder of images, a class a folder. */
  images: string;
  /** Run folder; made, or resumed. */
  out: string;
  /** Minutes for everything, from now. */
  minutes: number;
  /** Pixels of a side; default 32, or 64 from 30 minutes on. */
  size?: number;
  /** Replays this plan instead of making one. */
  plan?: string;
  seed: number;
  /** Bytes of decoded pictures that may be kept; default 2 GiB. Beyond it they are decoded as they are needed. */
  memory?: number | undefined;
  tokenizer: TokenizerChoice;
  /** A folder with `grid.png` and `reveal.webp` of the shipped model, shown in the report. */
  shippedSamples?: string;
  signal?: AbortSignal;
}

export async function* fit(options: FitOptions): AsyncGenerator<PipelineEvent> {
  const began = performance.now();
  const out = resolve(options.out);
  const planFile = join(out, 'plan.json');
  mkdirSync(out, { recursive: true });
  const given = hasPlan(planFile) ? planFile : options.plan;
  const before = given === undefined ? undefined : readPlan(given);
  const size = before?.imageSize ?? options.size ?? (options.minutes >= 30 ? 64 : 32);
  const seed = before?.seed ?? options.seed;

  const { memory, signal } = options;
  const images = yield* loadFitImages(options.images, { size, seed, memory, signal });
  const shipped = openShipped(size);
  try {
    let plan = before;
    if (plan === undefined) {
      yield { kind: 'stage', stage: 'plan', message: 'measuring this machine' };
      const seconds = options.minutes * 60 - (performance.now() - began) / 1000;
      const sample = images.measured.labels.length > 0 ? images.measured : await images.train.block(SAMPLE);
      plan = makePlan(images, sample, { seconds, seed, tokenizer: options.tokenizer, shipped });
    }
    requireSameImages(plan, images, options.images);
    if (!hasPlan(planFile)) writePlan(planFile, plan);
    yield* say(plan);
    setNumThreads(plan.threads);
    const context = { out, plan, images, shippedSamples: options.shippedSamples, signal: options.signal };
    const tokenizer = yield* tokenizerStage(context, shipped);
    const tokens = yield* tokensStage(context, tokenizer);
    const model = yield* generatorStage(context, tokenizer, tokens);
    const result = yield* finishStage(context, tokenizer, model);
    tokens.train.dispose();
    tokens.heldOut?.dispose();
    tokenizer.dispose();
    model.dispose();
    const minutes = (performance.now() - began) / 60_000;
    if (before === undefined && minutes > options.minutes * 1.15) {
      yield { kind: 'warning', message: `took ${minutes.toFixed(1)} minutes, ${options.minutes} were planned` };
    }
    yield { kind: 'result', result: { ...result, minutes } };
  } finally {
    shipped?.dispose();
    await images.close();
  }
}

/** Pictures that a plan looks at where none are held out. */
const SAMPLE = 512;

function openShipped(size: number): LlamaGenVq | undefined {
  const path = shippedModel(`emoji-${size}`);
  if (path === undefined) return undefined;
  const tokenizer = openTokenizer(join(path, 'tokenizer'));
  if (tokenizer instanceof LlamaGenVq) return tokenizer;
  // A fit trains on from it, which is built for this architecture alone.
  tokenizer.dispose();
  return undefined;
}

function requireSameImages(plan: FitPlan, images: FitImages, root: string): void {
  if (plan.dataFingerprint === images.fingerprint) return;
  throw new PipelineError(
    'IMAGES_CHANGED',
    `The images in ${root} are not those of the plan (${plan.numTrain} + ${plan.numHeldOut} images then, ` +
      `${images.train.numImages} + ${images.heldOut.numImages} now): restore them, or choose another --out.`,
  );
}

function* say(plan: FitPlan): Generator<PipelineEvent> {
  const { tokenizer, generator } = plan;
  const steps = tokenizer.training === undefined ? '' : `, ${tokenizer.training.totalSteps} steps`;
  yield {
    kind: 'note',
    message: `plan: tokenizer: ${tokenizer.mode}${steps}; generator: ${generator.training.totalSteps} steps of ${generator.training.globalBatch} images`,
  };
  if (plan.torch !== torchVersion() || plan.threads !== getNumThreads()) {
    const [was, is] = [`${plan.torch}, ${plan.threads} threads`, `${torchVersion()}, ${getNumThreads()}`];
    yield { kind: 'warning', message: `planned with libtorch ${was}; here ${is}: last bits may differ` };
  }
}
