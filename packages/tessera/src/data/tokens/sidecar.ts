/**
 * What the reference systems' layouts do not say of themselves (codebook, classes, how the pictures were made), in a
 * small JSON file beside them. Their own programs read only npy files and pass it over; without it, the published
 * tokenizers and ImageNet are assumed.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { parseConfig, strictConfig } from '@tessera/schedule';
import { z } from 'zod';
import { DataError } from '../data-error.ts';

const sidecarSchema = strictConfig({
  formatVersion: z.literal(1),
  kind: z.literal('tokens'),
  codebookSize: z.int().min(2),
  imageSize: z.int().min(1).optional(),
  picturesPerImage: z.int().min(1),
  classes: z.array(z.string()).min(1),
  /** Of the images, the tokenizer and the settings, where Tessera made the tokens. */
  madeFrom: z.string().optional(),
});

export interface Sidecar
  extends Pick<z.output<typeof sidecarSchema>, 'codebookSize' | 'imageSize' | 'picturesPerImage'> {
  classes: readonly string[];
  madeFrom?: string | undefined;
}

export function readSidecar(path: string): Sidecar | undefined {
  if (!existsSync(path)) return undefined;
  let json: unknown;
  try {
    json = JSON.parse(readFileSync(path, 'utf8'));
  } catch (error) {
    throw new DataError('TOKENS_BROKEN', `${path} is broken: ${(error as Error).message}`);
  }
  return parseConfig(sidecarSchema, json, path);
}

export function writeSidecar(path: string, sidecar: Sidecar): void {
  const { codebookSize, imageSize, picturesPerImage, classes, madeFrom } = sidecar;
  const content = { formatVersion: 1, kind: 'tokens', codebookSize, imageSize, picturesPerImage, classes, madeFrom };
  writeFileSync(path, `${JSON.stringify(content, undefined, 2)}\n`);
}

/** What a caller knows where there is no such file. */
export interface AssumedTokens {
  codebookSize?: number | undefined;
  numClasses?: number | undefined;
}

/** ImageNet's, as both reference systems hard-code them. */
const DEFAULT_CLASSES = 1000;

export function codesAndClasses(
  path: string,
  { codebookSize, numClasses }: AssumedTokens,
  defaultCodebook: number,
): { codebookSize: number; classes: readonly string[]; sidecar: Sidecar | undefined } {
  const sidecar = readSidecar(path);
  const count = numClasses ?? DEFAULT_CLASSES;
  return {
    codebookSize: sidecar?.codebookSize ?? codebookSize ?? defaultCodebook,
    classes: sidecar?.classes ?? Array.from({ length: count }, (_, label) => String(label)),
    sidecar,
  };
}
