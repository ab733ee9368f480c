/**
 * The layouts that tokens are written in: our own shards, AutoNAT's and ENAT's one npy file, LlamaGen's and NPP's tree of
 * npy files. Several crop ranges are several trees there, named as NPP names its two.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { readDescription, TokenDatasetWriter } from '../../data/token-dataset.ts';
import { LlamaGenWriter, treeSidecar, treeSizes } from '../../data/tokens/llamagen-tree.ts';
import { NatNpyWriter } from '../../data/tokens/nat-npy.ts';
import { readSidecar } from '../../data/tokens/sidecar.ts';
import type { TokensToWrite, TokenWriter } from '../../data/tokens/token-rows.ts';
import { PipelineError } from '../events.ts';

export const LAYOUTS = ['shards', 'nat-npy', 'llamagen'] as const;
export type Layout = (typeof LAYOUTS)[number];
export const layoutSchema = z.enum(LAYOUTS);

export interface TokensOutput extends TokensToWrite {
  /** Crop ranges, where each has ten of the pictures. */
  cropRanges?: readonly number[] | undefined;
}

/** Refuses a place that does not fit the layout, before work is done. */
export function checkPlace(out: string, layout: Layout): void {
  if (layout === 'nat-npy' && !out.endsWith('.npy')) {
    throw new PipelineError('LAYOUT', `The layout nat-npy is one file: expected --out FILE.npy, got ${out}.`);
  }
  if (layout !== 'nat-npy' && out.endsWith('.npy')) {
    throw new PipelineError(
      'LAYOUT',
      `The layout ${layout} is a folder, got --out ${out}: for one file, --layout nat-npy.`,
    );
  }
}

/** What is at the place already: nothing, or tokens with what they were made from, where that is known. */
export function whatIsThere(
  out: string,
  layout: Layout,
  imageSize: number,
): { madeFrom: string | undefined } | undefined {
  switch (layout) {
    case 'shards':
      if (!existsSync(out)) return undefined;
      return { madeFrom: existsSync(join(out, 'dataset.json')) ? readDescription(out).madeFrom : undefined };
    case 'nat-npy':
      return existsSync(out) ? { madeFrom: readSidecar(`${out}.json`)?.madeFrom } : undefined;
    case 'llamagen':
      if (!treeSizes(out).includes(imageSize)) return undefined;
      return { madeFrom: readSidecar(treeSidecar(out, imageSize))?.madeFrom };
    default:
      return layout satisfies never;
  }
}

export function tokenWriter(out: string, layout: Layout, what: TokensOutput): TokenWriter {
  switch (layout) {
    case 'shards':
      return new TokenDatasetWriter(out, what);
    case 'nat-npy':
      return new NatNpyWriter(out, what);
    case 'llamagen':
      return treeWriter(out, what);
    default:
      return layout satisfies never;
  }
}

/** Of several crop ranges the first is at `out`, each other at its sibling: `…_ten_crop` and `…_ten_crop_105`. */
function treeWriter(out: string, what: TokensOutput): TokenWriter {
  const { cropRanges = [], ...rest } = what;
  if (cropRanges.length < 2) return new LlamaGenWriter(out, rest);
  const picturesPerImage = what.picturesPerImage / cropRanges.length;
  const writers = cropRanges.map(
    (range, i) => new LlamaGenWriter(treeOf(out, range, i), { ...rest, picturesPerImage }),
  );
  const length = picturesPerImage * what.gridSize ** 2;
  return {
    add: (label, tokens) => {
      const all = Int32Array.from(tokens);
      for (const [i, writer] of writers.entries()) writer.add(label, all.subarray(i * length, (i + 1) * length));
    },
    finish: () => {
      // The first last: with it the job is done.
      for (const writer of writers.toReversed()) writer.finish();
    },
    dispose: () => {
      for (const writer of writers) writer.dispose();
    },
  };
}

function treeOf(out: string, range: number, index: number): string {
  return index === 0 ? out : `${out.replace(/\/+$/, '')}_${String(range).replace('.', '')}`;
}
