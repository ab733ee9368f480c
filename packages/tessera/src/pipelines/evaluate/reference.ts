/** What pictures are compared with: pictures, statistics, or ADM's files that hold both. */

import { existsSync, statSync } from 'node:fs';
import { scope } from '@tessera/torch';
import { PipelineError } from '../events.ts';
import type { EvaluationExtractor } from './extractor.ts';
import { hashOfFile, type ImageSet, isArchive, openFolderSet, openNpzSet } from './image-set.ts';
import type { Protocol } from './protocols.ts';
import { readStatistics } from './statistics-file.ts';

export interface Reference {
  readonly path: string;
  readonly kind: 'folder' | 'npz' | 'statistics' | 'statistics and images';
  /** Of the file; of a folder: SHA-256 of its images' names and sizes. */
  readonly sha256: string;
  readonly images: ImageSet | undefined;
  /** Whether mean and covariance come from the file. */
  readonly hasStatistics: boolean;
}

/** Opens and checks a reference; `images` is the caller's to dispose. */
export async function openReference(
  path: string,
  protocol: Protocol,
  extractor: EvaluationExtractor,
  options: { size?: number | undefined; signal?: AbortSignal | undefined },
): Promise<Reference> {
  if (!existsSync(path)) throw new PipelineError('NOT_FOUND', `${path}: no such file or folder.`);
  if (statSync(path).isDirectory()) {
    const images = await openFolderSet(path, options.size, { ...options, alpha: protocol.alpha });
    return { path, kind: 'folder', sha256: images.listing, images, hasStatistics: false };
  }
  if (!isArchive(path)) {
    throw new PipelineError('OPTIONS', `${path}: expected a folder of images or an .npz of pictures or statistics.`);
  }
  const found = scope(() => {
    const statistics = readStatistics(path);
    if (statistics === undefined) return undefined;
    const { pool, spatial, hasImages } = statistics;
    return { dim: pool.mean.numel, spatialDim: spatial?.mean.numel, hasImages };
  });
  const sha256 = await hashOfFile(path);
  if (found === undefined) return { path, kind: 'npz', sha256, images: openNpzSet(path), hasStatistics: false };
  if (found.dim !== extractor.dim) {
    throw new PipelineError(
      'STATISTICS',
      `${path} holds statistics of ${found.dim} features, ${extractor.name} gives ${extractor.dim}: they were made with another extractor and cannot be compared. Use the protocol that they were made for, or make others with "tessera stats".`,
    );
  }
  if (protocol.sfid && found.spatialDim !== extractor.spatialDim) {
    throw new PipelineError(
      'STATISTICS',
      `${path}: the protocol ${protocol.name} needs mu_s and sigma_s of ${extractor.spatialDim} spatial features, got ${found.spatialDim ?? 'none'}.`,
    );
  }
  const images = found.hasImages && protocol.manifold !== undefined ? openNpzSet(path) : undefined;
  const kind = found.hasImages ? 'statistics and images' : 'statistics';
  return { path, kind, sha256, images, hasStatistics: true };
}

/** Pictures alone, such as those that were not trained on. */
export async function openUnseen(
  path: string,
  { alpha }: Protocol,
  options: { size?: number | undefined; signal?: AbortSignal | undefined },
): Promise<ImageSet> {
  if (!existsSync(path)) throw new PipelineError('NOT_FOUND', `${path}: no such file or folder.`);
  if (statSync(path).isDirectory()) return openFolderSet(path, options.size, { ...options, alpha });
  if (isArchive(path)) return openNpzSet(path);
  throw new PipelineError('OPTIONS', `${path}: expected a folder of images or an .npz of pictures.`);
}

/** A warning where pictures are of other sizes than the reference's: features tell sizes apart, too. */
export async function sizesDiffer(images: ImageSet, { images: reference, path }: Reference): Promise<string[]> {
  if (reference === undefined) return [];
  const [own, theirs] = [await sidesOf(images), await sidesOf(reference)];
  if (own === theirs) return [];
  return [
    `The pictures of ${images.path} are ${own}, those of ${path} ${theirs}: the distance is also one of sharpness. --size PX brings folders to one size.`,
  ];
}

async function sidesOf(images: ImageSet): Promise<string> {
  const { size } = images;
  if (size !== undefined) return `${size}×${size}`;
  const batch = await images.read(0, 1);
  const [a, b, c] = batch.shape.slice(1) as [number, number, number];
  const isBytes = batch.dtype === 'uint8';
  batch.dispose();
  return isBytes ? `${b}×${a}` : `${c}×${b}`;
}
