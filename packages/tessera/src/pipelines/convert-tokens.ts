/**
 * `tessera convert`: tokens from one layout to another. An image keeps its number and its pictures their order; rows of
 * AutoNAT's and ENAT's file, where the mirror images of a batch follow the batch, are brought together and apart again.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { openStoredTokens } from '../data/tokens/open-tokens.ts';
import { gridSideOf } from '../data/tokens/token-rows.ts';
import { PipelineError, type PipelineEvent } from './events.ts';
import { flagName } from './flag-name.ts';
import { checkPlace, type Layout, tokenWriter, whatIsThere } from './tokenize/layouts.ts';

export interface ConvertOptions {
  /** Tokens in any layout. */
  tokens: string;
  out: string;
  layout: Layout;
  /** Pixels of a picture's side: which of several trees to read, and what to call the one that is written. */
  size?: number | undefined;
  /** Of an npy file that others wrote: mirror images follow each batch. */
  flip?: boolean | undefined;
  /** Of files that others wrote, where it is not the published tokenizers' or ImageNet's. */
  codebookSize?: number | undefined;
  numClasses?: number | undefined;
  signal?: AbortSignal | undefined;
}

const EVENTS_EVERY = 1024;

export async function* convertTokens(options: ConvertOptions): AsyncGenerator<PipelineEvent> {
  const { tokens: path, out, layout, signal } = options;
  checkPlace(out, layout);
  const source = openStoredTokens(path, {
    imageSize: options.size,
    codebookSize: options.codebookSize,
    numClasses: options.numClasses,
    together: true,
    storedPictures: options.flip === true ? 2 : 1,
  });
  try {
    refuseContradictions(options, source.imageSize);
    const imageSize = options.size ?? source.imageSize;
    if (imageSize === undefined && layout === 'llamagen') {
      throw new PipelineError('SIZE', `${path} does not say how large its pictures were: add --size PX.`);
    }
    if (existsSync(out) && whatIsThere(out, layout, imageSize ?? 0) !== undefined) {
      throw new PipelineError('CONVERT_TAKEN', `${out} is there already: remove it, or choose another --out.`);
    }
    yield { kind: 'stage', stage: 'convert', message: `writing ${source.numRows} images to ${out}` };
    const { numRows: numImages, picturesPerImage, codebookSize, classes } = source;
    const gridSize = gridSideOf(source.seqLen, path);
    const what = { numImages, picturesPerImage, gridSize, codebookSize, classes };
    const writer = tokenWriter(out, layout, { ...what, imageSize });
    try {
      let done = 0;
      for (const { label, tokens } of source.images()) {
        writer.add(label, tokens);
        if (++done % EVENTS_EVERY !== 0) continue;
        yield { kind: 'progress', stage: 'convert', done, total: numImages, unit: 'images' };
        await new Promise((resolve) => setImmediate(resolve));
        signal?.throwIfAborted();
      }
      writer.finish();
    } finally {
      writer.dispose();
    }
    yield { kind: 'file', path: out, what: 'the tokens' };
    yield { kind: 'result', result: { out, layout, images: numImages, picturesPerImage, gridSize, codebookSize } };
  } finally {
    source.dispose();
  }
}

/** What is said of tokens that say it themselves. */
function refuseContradictions({ tokens, size, ...options }: ConvertOptions, imageSize: number | undefined): void {
  if (size !== undefined && imageSize !== undefined && size !== imageSize) {
    throw new PipelineError('SIZE', `${tokens} was made of images of ${imageSize} px: leave --size ${size} out.`);
  }
  if (!existsSync(join(tokens, 'dataset.json'))) return;
  const given = (['flip', 'codebookSize', 'numClasses'] as const).find((name) => options[name] !== undefined);
  if (given === undefined) return;
  throw new PipelineError(
    'OPTIONS',
    `${flagName(given)} is of files that others wrote, and ${tokens} says it itself: leave it out.`,
  );
}
