/**
 * `tessera fit`: a folder of images in, a generator out. Images, plan, tokenizer, tokens, generator, model folder,
 * samples, report; each stage leaves something whole on disk, so the same command goes on where it was stopped.
 */

import { mkdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { getNumThreads, setNumThreads, torchVersion } from '@tessera/torch';
import { LlamaGenVq } from '../tokenizers/llamagen-vq.ts';
import { configDifferences } from '../training/config-difference.ts';
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
  /** Minutes for everything, from now; default 10. A plan that is there already decides, not they. */
  minutes?: number | undefined;
  /** Pixels of a side; default 32, or 64 from 30 minutes on. With a plan: the plan's, another one is refused. */
  size?: number | undefined;
  /** Replays this plan instead of making one; refused in a run folder with another. */
  plan?: string | undefined;
  /** Default 0. With a plan: the plan's, another one is refused. */
  seed?: number | undefined;
  /** Bytes of decoded pictures that may be kept; default 2 GiB. Beyond it they are decoded as they are needed. */
  memory?: number | undefined;
  /** Default `auto`. A plan that is there already decides. */
  tokenizer?: TokenizerChoice | undefined;
  /** A folder with `grid.png` and `reveal.webp` of the shipped model, shown in the report. */
  shippedSamples?: string;
  signal?: AbortSignal | undefined;
}

export async function* fit(options: FitOptions): AsyncGenerator<PipelineEvent> {
  const began = performance.now();
  const out = resolve(options.out);
  const planFile = join(out, 'plan.json');
  const { minutes = 10 } = options;
  const before = planBefore(planFile, options);
  const size = before?.imageSize ?? options.size ?? (minutes >= 30 ? 64 : 32);
  const seed = before?.seed ?? options.seed ?? 0;

  const { memory, signal } = options;
  const images = yield* loadFitImages(options.images, { size, seed, memory, signal });
  const owned: { dispose(): void }[] = [];
  const own = <T extends { dispose(): void } | undefined>(one: T): T => {
    if (one !== undefined) owned.push(one);
    return one;
  };
  try {
    const shipped = own(openShipped(size));
    let plan = before;
    if (plan === undefined) {
      yield { kind: 'stage', stage: 'plan', message: 'measuring this machine' };
      const secondsLeft = () => minutes * 60 - (performance.now() - began) / 1000;
      const { tokenizer = 'auto' } = options;
      const [sample, secondsToRead] = [await images.sample(), await images.secondsToRead()];
      plan = makePlan(images, sample, { secondsLeft, secondsToRead, seed, tokenizer, shipped });
    } else {
      yield { kind: 'note', message: `by the plan ${hasPlan(planFile) ? planFile : options.plan}: it decides, not the minutes nor the tokenizer that are asked for` }; // biome-ignore format: one row
    }
    requireSameImages(plan, images, options.images);
    mkdirSync(out, { recursive: true });
    if (!hasPlan(planFile)) writePlan(planFile, plan);
    setNumThreads(plan.threads);
    yield* say(plan);
    const context = { out, plan, images, shippedSamples: options.shippedSamples, signal: options.signal };
    const tokenizer = own(yield* tokenizerStage(context, shipped));
    const tokens = yield* tokensStage(context, tokenizer);
    own(tokens.train);
    own(tokens.heldOut);
    const model = own(yield* generatorStage(context, tokenizer, tokens));
    const result = yield* finishStage(context, tokenizer, model);
    const took = (performance.now() - began) / 60_000;
    if (before === undefined && took > minutes * 1.15) {
      yield { kind: 'warning', message: `took ${took.toFixed(1)} minutes, ${minutes} were planned` };
    }
    yield { kind: 'result', result: { ...result, minutes: took } };
  } finally {
    for (const one of owned.toReversed()) one.dispose();
    await images.close();
  }
}

/** The plan of the run folder, or the one that is given; what is asked for beside it must be what it says. */
function planBefore(planFile: string, { plan, size, seed }: FitOptions): FitPlan | undefined {
  const given = plan === undefined ? undefined : readPlan(plan);
  const before = hasPlan(planFile) ? readPlan(planFile) : given;
  if (before === undefined) return undefined;
  const where = hasPlan(planFile) ? planFile : plan!;
  const other = given === undefined ? [] : configDifferences(decisions(before), decisions(given));
  if (other.length > 0) {
    throw new PipelineError(
      'PLAN',
      `${plan} is not the plan of the run, ${where}: ${other.slice(0, 3).join('; ')}. Leave out --plan, or choose another --out.`,
    );
  }
  for (const [flag, asked, planned] of [
    ['--size', size, before.imageSize],
    ['--seed', seed, before.seed],
  ] as const) {
    if (asked === undefined || asked === planned) continue;
    throw new PipelineError(
      'PLAN',
      `The plan ${where} has ${flag.slice(2)} ${planned}, ${flag} says ${asked}: leave it out, or choose another --out without a plan.`,
    );
  }
  return before;
}

/** A plan without what is for people. */
function decisions({ measured: _, tokenizer, ...rest }: FitPlan): unknown {
  const { reason: __, ...others } = tokenizer;
  return { ...rest, tokenizer: others };
}

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
