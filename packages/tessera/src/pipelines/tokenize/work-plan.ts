/**
 * What a job of tokenizing is, in `plan.json` of its working folder: everything that decides the tokens. Every process of
 * the job, and every later start of it, must come to the same plan; what differs is named.
 *
 *   OUT.work/plan.json          this
 *   OUT.work/part-00000-of-00004.bin          the tokens of a share (part-file.ts)
 *   OUT.work/part-00000-of-00004.broken.jsonl images of it that could not be read
 */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { parseConfig, strictConfig } from '@tessera/schedule';
import { getNumThreads, scope, torchVersion } from '@tessera/torch';
import { z } from 'zod';
import type { ImageFolder } from '../../data/image-folder.ts';
import { recipeSchema } from '../../data/variants.ts';
import { createWhole } from '../../data/whole-folder.ts';
import type { Tokenizer } from '../../tokenizers/tokenizer.ts';
import { PipelineError } from '../events.ts';
import { layoutSchema } from './layouts.ts';

const sha256 = z.string().regex(/^[0-9a-f]{64}$/);

const planSchema = strictConfig({
  formatVersion: z.literal(1),
  /** Of names, sizes and labels, in order. */
  images: sha256,
  numImages: z.int().min(1),
  /** Of the weights. */
  tokenizer: sha256,
  gridSize: z.int().min(1),
  codebookSize: z.int().min(2),
  recipe: recipeSchema,
  layout: layoutSchema,
  /** Images that are encoded together: the last bits of a network depend on it. */
  batchImages: z.int().min(1),
  numShares: z.int().min(1),
  device: z.string(),
  threads: z.int().min(1),
  torch: z.string(),
});

export type WorkPlan = z.output<typeof planSchema>;

/** What may differ between starts of a job; it is warned of, since last bits depend on it. */
const SOFT = ['device', 'threads', 'torch'] as const;

export function makePlan(
  source: ImageFolder,
  tokenizer: Tokenizer,
  settings: Pick<WorkPlan, 'gridSize' | 'recipe' | 'layout' | 'batchImages' | 'numShares' | 'device'>,
): WorkPlan {
  return {
    formatVersion: 1,
    images: fingerprintOfImages(source),
    numImages: source.items.length,
    tokenizer: fingerprintOfTokenizer(tokenizer),
    codebookSize: tokenizer.codebookSize,
    threads: getNumThreads(),
    torch: torchVersion(),
    ...settings,
  };
}

/** What tells a finished output from one that was made of something else. */
export function planHash(plan: WorkPlan): string {
  const { numShares: _shares, device: _device, threads: _threads, torch: _torch, ...lasting } = plan;
  return createHash('sha256').update(JSON.stringify(lasting)).digest('hex');
}

/** In the folder of a job's parts, from its beginning to its end. */
export const PLAN_FILE = 'plan.json';

/** Writes the plan of a new job, or compares with the one that is there. Returns warnings. */
export function joinJob(folder: string, plan: WorkPlan): string[] {
  const path = join(folder, PLAN_FILE);
  mkdirSync(folder, { recursive: true });
  if (!existsSync(path)) {
    // Several processes of a job begin at once, and one of them is first.
    createWhole(path, `${JSON.stringify(plan, undefined, 2)}\n`);
  }
  const there = readPlan(path);
  const soft = new Set<string>(SOFT);
  const differing = (Object.keys(plan) as (keyof WorkPlan)[]).filter(
    (key) => JSON.stringify(plan[key]) !== JSON.stringify(there[key]),
  );
  const hard = differing.filter((key) => !soft.has(key));
  if (hard.length > 0) {
    const what = hard.map((key) => `${key}: ${shown(there[key])} there, ${shown(plan[key])} now`).join('; ');
    throw new PipelineError(
      'TOKENIZE_PLAN',
      `${folder} was begun with other settings (${what}): give those, choose another --out, or remove that folder.`,
    );
  }
  return differing.map(
    (key) => `This was begun with ${key} ${shown(there[key])}, now it is ${shown(plan[key])}: last bits may differ.`,
  );
}

function readPlan(path: string): WorkPlan {
  let json: unknown;
  try {
    json = JSON.parse(readFileSync(path, 'utf8'));
  } catch (error) {
    throw new PipelineError('TOKENIZE_PLAN', `${path} is broken: ${(error as Error).message}`, { cause: error });
  }
  return parseConfig(planSchema, json, path);
}

function shown(value: unknown): string {
  const text = typeof value === 'string' ? value : JSON.stringify(value);
  return /^[0-9a-f]{64}$/.test(text) ? `${text.slice(0, 8)}…` : text;
}

function fingerprintOfImages({ items, classes }: ImageFolder): string {
  const hash = createHash('sha256').update(`${JSON.stringify(classes)}\n`);
  for (const { relativePath, label, path, range } of items) {
    // A picture that was repaired or made anew has another size, if not always.
    const size = range?.size ?? statSync(path, { throwIfNoEntry: false })?.size ?? -1;
    hash.update(`${label} ${size} ${relativePath}\n`);
  }
  return hash.digest('hex');
}

export function fingerprintOfTokenizer(tokenizer: Tokenizer): string {
  const hash = createHash('sha256').update(`${tokenizer.family} ${JSON.stringify(tokenizer.config)}\n`);
  for (const [name, tensor] of tokenizer.state) {
    hash.update(name).update(scope(() => tensor.detach().to('cpu').contiguous().toBytes()));
  }
  return hash.digest('hex');
}
