/**
 * What a search is, in `search.json` of its folder: everything that decides its candidates and their values. A later start
 * must come to the same; what differs is named. The budget may change: more of it goes on with the same search.
 *
 *   RUN/search.json           this
 *   RUN/evaluations.jsonl     a line an evaluation (search/ledger.ts)
 *   RUN/confirmation.jsonl    start and best on noise that the search did not see
 *   RUN/strategy.yaml         the result, with where it comes from
 *   RUN/strategy.autonat.yaml the same as AutoNAT's file; of autoregressive models there is none
 *   RUN/searched_strategies/  of finite differences: stp_N.yaml, as the original leaves them
 *   RUN/search.csv            all evaluations as the original's table
 *   RUN/report.html           curves and tables
 */

import { createHash } from 'node:crypto';
import { createReadStream, existsSync, mkdirSync, readdirSync, readFileSync, realpathSync, statSync } from 'node:fs';
import { join, relative } from 'node:path';
import { withFile } from '@tessera/formats/node';
import { parseConfig, strictConfig } from '@tessera/schedule';
import { z } from 'zod';
import { fingerprintOf } from '../../data/tokens/fingerprint.ts';
import { replaceWhole } from '../../data/whole-folder.ts';
import { METHOD_NAMES } from '../../search/methods.ts';
import { SearchError } from '../../search/search-error.ts';
import { type ObjectiveDescription, objectiveSchema } from './open-objective.ts';

const bounds = z.record(z.string(), z.tuple([z.number(), z.number()]));

export const searchPlanSchema = strictConfig({
  formatVersion: z.literal(1),
  method: z.enum(METHOD_NAMES),
  parametrisation: z.enum(['full', 'smooth', 'autoregressive']),
  knots: z.int().min(1).optional(),
  numSteps: z.int().min(1).optional(),
  /** Sampling settings where the search begins. */
  start: z.unknown(),
  bounds,
  objective: objectiveSchema,
  /** SHA-256 of the network's and of the tokenizer's weights. */
  modelHash: z.string(),
  /** What tells the reference from others (hashReference). */
  referenceHash: z.string().optional(),
  /** SHA-256 of the weights of the FID's network, where they are given. */
  inceptionHash: z.string().optional(),
  /** Images of a whole evaluation. */
  numImages: z.int().min(1),
  noise: z.enum(['common', 'fresh']),
  population: z.int().min(2).optional(),
  /** Of finite differences. */
  ratioRate: z.number().optional(),
  otherRate: z.number().optional(),
  momentum: z.number().optional(),
  clip: z.number().optional(),
  maxUpdates: z.int().optional(),
});

export type SearchPlan = z.output<typeof searchPlanSchema>;

/** Writes the plan of a new search, or compares with the one that is there; `schema` is that of its kind. */
export function joinSearch<
  Plan extends {
    modelHash: string;
    referenceHash?: string | undefined;
    inceptionHash?: string | undefined;
    objective: ObjectiveDescription;
  },
>(folder: string, plan: Plan, schema: z.ZodType<Plan>): void {
  const path = join(folder, 'search.json');
  mkdirSync(folder, { recursive: true });
  // A search that has measured nothing, since its options were wrong, may begin anew; trainings are work as well.
  const ledger = join(folder, 'evaluations.jsonl');
  const hasBegun = existsSync(join(folder, 'inner')) || (existsSync(ledger) && statSync(ledger).size > 0);
  if (!existsSync(path) || !hasBegun) {
    replaceWhole(path, `${JSON.stringify(plan, undefined, 2)}\n`);
    return;
  }
  const there = readPlan(folder, schema);
  if (there.modelHash !== plan.modelHash) {
    throw new SearchError(
      'SEARCH_CHANGED',
      `The weights of ${plan.objective.model} have changed since the search in ${folder} began: its values belong to other ones. Choose another --out.`,
    );
  }
  // Searches of before it was kept have none.
  const referenceHash = there.referenceHash ?? plan.referenceHash;
  if (referenceHash !== plan.referenceHash && there.objective.reference === plan.objective.reference) {
    throw new SearchError(
      'SEARCH_CHANGED',
      `${plan.objective.reference} has changed since the search in ${folder} began: its values are distances from other images. Choose another --out.`,
    );
  }
  if (there.inceptionHash !== undefined && there.inceptionHash !== plan.inceptionHash) {
    throw new SearchError(
      'SEARCH_CHANGED',
      `${plan.objective.inception} has changed since the search in ${folder} began: its values are other distances. Choose another --out.`,
    );
  }
  const now = JSON.parse(JSON.stringify(plan)) as Plan;
  const differing = differences({ ...there, referenceHash, inceptionHash: plan.inceptionHash }, now);
  if (differing.length === 0) return;
  const what = differing.join('; ');
  throw new SearchError(
    'SEARCH_CHANGED',
    `${folder} was begun with other settings (${what}): give those, or choose another --out.`,
  );
}

function readPlan<Plan>(folder: string, schema: z.ZodType<Plan>): Plan {
  const path = join(folder, 'search.json');
  let json: unknown;
  try {
    json = JSON.parse(readFileSync(path, 'utf8'));
  } catch (error) {
    throw new SearchError('SEARCH_CHANGED', `${path} cannot be read: ${(error as Error).message}`, { cause: error });
  }
  return parseConfig(schema, json, path);
}

/** Of all weights of a model folder. */
export async function hashModel(folder: string): Promise<string> {
  const hash = createHash('sha256');
  for (const file of ['config.json', 'model.safetensors', 'tokenizer/config.json', 'tokenizer/model.safetensors']) {
    for await (const chunk of createReadStream(join(folder, file))) hash.update(chunk as Buffer);
  }
  return hash.digest('hex');
}

/** Each field that differs, by its path, with both values. */
function differences(there: unknown, now: unknown, path: readonly string[] = []): string[] {
  if (JSON.stringify(there) === JSON.stringify(now)) return [];
  if (isFields(there) && isFields(now)) {
    return Object.keys({ ...there, ...now }).flatMap((key) => differences(there[key], now[key], [...path, key]));
  }
  return [`${path.join('.')}: ${shown(there)} there, ${shown(now)} now`];
}

/** Whole files are read up to here; of longer ones some blocks. */
const READ_WHOLE = 2 ** 30;

/**
 * Of a file its bytes; of a folder the names and sizes of its files, since reading all of them takes minutes, and what it
 * says of itself: tokens of other codes have the same sizes.
 */
export async function hashReference(path: string): Promise<string | undefined> {
  if (!existsSync(path)) return undefined;
  const hash = createHash('sha256');
  const add = async (file: string): Promise<void> => {
    for await (const chunk of createReadStream(file)) hash.update(chunk as Buffer);
  };
  const { size } = statSync(path);
  if (!statSync(path).isFile()) {
    const lines = filesBelow(path).map((file) => `${relative(path, file)}\0${statSync(file).size}`);
    hash.update(lines.sort().join('\n'));
    const description = join(path, 'dataset.json');
    if (existsSync(description)) await add(description);
  } else if (size <= READ_WHOLE) await add(path);
  else hash.update(withFile(path, fingerprintOf));
  return hash.digest('hex');
}

/** Through links, as pictures are read; a folder that was seen already is not entered again. */
function filesBelow(folder: string, seen = new Set<string>()): string[] {
  seen.add(realpathSync(folder));
  return readdirSync(folder).flatMap((name) => {
    const path = join(folder, name);
    const what = statSync(path, { throwIfNoEntry: false });
    if (what?.isDirectory()) return seen.has(realpathSync(path)) ? [] : filesBelow(path, seen);
    return what?.isFile() ? [path] : [];
  });
}

function isFields(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function shown(value: unknown): string {
  const text = JSON.stringify(value) ?? 'nothing';
  return text.length > 80 ? `${text.slice(0, 80)}…` : text;
}
