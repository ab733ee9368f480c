/**
 * A set of reference values on disk: folders with a manifest.json each. Which sets: GOLDEN_DIR, or the one beside the
 * repository. The format is data-driven; nothing here knows a model.
 */

import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

export interface Tolerance {
  abs?: number;
  rel?: number;
  minFraction?: number;
  hardAbs?: number;
  relTo?: 'max';
}

/** Where a value lies; the members that are present say how to read it. */
export interface Reference {
  file?: string;
  tensor?: string;
  column?: number;
  rows?: number[];
  rowRange?: [number, number];
  order?: string;
  absent?: number;
  tensors?: Record<string, string>;
  tensorsByStep?: Record<string, Record<string, string>>;
  json?: (string | number)[];
  field?: string;
  stateDict?: (string | number)[];
  exclude?: string[];
  pickle?: (string | number)[];
  optimizerState?: (string | number)[];
  value?: Json;
  imageRule?: string;
  height?: number;
  width?: number;
  salt?: string;
  exact?: boolean;
  tolerance?: Tolerance;
}

export type WeightsReference =
  | string
  | { file: string; path?: (string | number)[]; prefix?: string; tensors?: Record<string, string> }
  | { rule: string; keysFile: string };

export interface GoldenCase {
  id: string;
  kind: string;
  file?: string;
  config?: Record<string, Json>;
  weights?: WeightsReference;
  extraWeights?: Record<string, WeightsReference>;
  checkpointFiles?: Record<string, string>;
  params: Record<string, Json>;
  inputs: Record<string, Reference>;
  outputs: Record<string, Reference>;
}

export interface GoldenFolder {
  /** Relative to the set, such as `enat`. */
  name: string;
  /** Absolute. */
  path: string;
  family: string;
  config: Record<string, Json>;
  rules: Record<string, Json>;
  cases: GoldenCase[];
}

const FORMAT_VERSION = 1;

/** The folders of the set, or undefined (with one line printed) when there is none and none is required. */
export function openGoldenSet(): GoldenFolder[] | undefined {
  const root = resolve(process.env.GOLDEN_DIR ?? join(import.meta.dirname, '../../../shared/golden'));
  if (!existsSync(root)) {
    if (process.env.REQUIRE_SHARED === '1' || process.env.GOLDEN_DIR !== undefined) {
      throw new Error(`expected reference values at ${root}, found nothing (GOLDEN_DIR names their folder)`);
    }
    console.log('parity: no reference values at hand (GOLDEN_DIR names their folder); nothing compared');
    return undefined;
  }
  return manifestsUnder(root, '').map(({ name, path }) => readManifest(name, path));
}

function manifestsUnder(root: string, name: string): { name: string; path: string }[] {
  const folder = join(root, name);
  const here = existsSync(join(folder, 'manifest.json')) ? [{ name, path: folder }] : [];
  const below = readdirSync(folder)
    .sort()
    .filter((entry) => statSync(join(folder, entry)).isDirectory())
    .flatMap((entry) => manifestsUnder(root, join(name, entry)));
  return [...here, ...below];
}

function readManifest(name: string, path: string): GoldenFolder {
  const manifest = JSON.parse(readFileSync(join(path, 'manifest.json'), 'utf8')) as Omit<
    GoldenFolder,
    'name' | 'path'
  > & { formatVersion: number };
  if (manifest.formatVersion !== FORMAT_VERSION) {
    throw new Error(`${path}: expected formatVersion ${FORMAT_VERSION}, got ${manifest.formatVersion}`);
  }
  return { ...manifest, rules: manifest.rules ?? {}, name, path };
}
