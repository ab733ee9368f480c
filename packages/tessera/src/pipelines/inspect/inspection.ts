/** What an inspection finds: plain data, the same for every kind of file, printed by the command line or as JSON. */

import type { AutoregressiveSettings, StrategyStep } from '@tessera/schedule';
import type { PatchCosts } from '../../models/family.ts';
import type { GenerationCost } from './generation-macs.ts';

export interface TensorRow {
  name: string;
  dtype: string;
  shape: readonly number[];
  byteLength: number;
}

/** A value of a checkpoint that is no tensor, by its path, shortly. */
export interface ValueRow {
  name: string;
  value: string;
}

export interface FileInspection {
  kind: 'file';
  path: string;
  format: string;
  byteLength: number;
  /** Those that the filter lets through. */
  tensors: TensorRow[];
  values: ValueRow[];
  /** Left out of `values` because there are too many. */
  moreValues: number;
  metadata: Record<string, string>;
  /** Over all tensors, the filter notwithstanding. */
  totals: { tensors: number; elements: number; byteLength: number };
}

export interface ModelInspection {
  kind: 'model';
  path: string;
  family: string;
  imageSize: number;
  config: Record<string, unknown>;
  tokenizer: Record<string, unknown>;
  numParameters: { model: number; tokenizer: number };
  byteLength: number;
  classes: string[];
  strategy:
    | { remask: string; steps: (StrategyStep & { maskedIn: number; newlyFixed: number })[] }
    | AutoregressiveSettings;
}

export interface TokenizerInspection {
  kind: 'tokenizer';
  path: string;
  family: string;
  config: Record<string, unknown>;
  /** Pixels of a token's side. */
  pixelsPerToken: number;
  numParameters: number;
  byteLength: number;
}

export interface RunInspection {
  kind: 'run';
  path: string;
  /** Finished checkpoints by step. */
  checkpoints: number[];
  /** Last line of metrics.jsonl of each kind. */
  lastMetrics: Record<string, unknown>[];
  /** Model folder and parts that are runs themselves, relative. */
  parts: string[];
}

export interface TokensInspection {
  kind: 'tokens';
  path: string;
  numRows: number;
  /** Stored of each row's image: its mirror image, its crops. */
  picturesPerImage: number;
  gridSize: number;
  codebookSize: number;
  byteLength: number;
  classes: { name: string; rows: number }[];
  /** Distinct codes that occur. */
  codesUsed: number;
}

export interface PresetInspection {
  kind: 'preset';
  name: string;
  family: string;
  config: Record<string, unknown>;
  numParameters: number;
  /** In float32; `training`: weights, gradients, two moments and an average, without activations. */
  byteLength: { weights: number; training: number };
  /** Of one image; absent for families that do not count their steps. */
  cost?: GenerationCost;
  /** MACs of decoding one image, where the tokenizer is known. */
  decoderMacs?: number;
  /** Training on cells of tokens; absent for families that do not. */
  patches?: PatchCosts;
}

export type Inspection =
  | PresetInspection
  | FileInspection
  | ModelInspection
  | TokenizerInspection
  | RunInspection
  | TokensInspection;
