/**
 * Reads image files into one block of pixels: decoded, centre-cropped, in the order of the list. Broken files are
 * reported and left out, so one bad download does not end a run; when nothing at all can be read, that is an error.
 */
import { centerCrop } from './center-crop.ts';
import { DataError } from './data-error.ts';
import { type DecodeOptions, decodeImage } from './image.ts';
import type { ImageItem } from './image-folder.ts';

export interface LoadOptions extends DecodeOptions {
  onProgress?: (done: number, total: number) => void;
  /** Files in flight. Decoding runs in sharp's pool of four threads; more only costs memory. Default 4. */
  concurrency?: number;
  signal?: AbortSignal;
}

export interface LoadedImages {
  /** [N, Y, X, 3] uint8; N counts the images that could be read. */
  pixels: Uint8Array;
  /** [N] class labels. */
  labels: Int32Array;
  /** [N] the items that the rows of `pixels` come from. */
  items: ImageItem[];
  skipped: { path: string; reason: string }[];
}

/**
 * Loads every item at `size` × `size` pixels. Transparent pictures are laid on white (`alpha: 'drop'` is the
 * reference's way) and stored orientations are ignored, unless the options say otherwise.
 * Memory: items × size² × 3 bytes; for more than that, load in slices of the list.
 */
export async function loadImages(
  items: readonly ImageItem[],
  size: number,
  options: LoadOptions = {},
): Promise<LoadedImages> {
  const { onProgress, concurrency = 4, signal, ...decodeOptions } = options;
  const bytes = size * size * 3;
  const pixels = new Uint8Array(items.length * bytes);
  const failures = new Map<number, string>();
  let next = 0;
  let done = 0;
  const work = async () => {
    while (next < items.length) {
      signal?.throwIfAborted();
      const index = next++;
      try {
        const image = await decodeImage(items[index]!.path, { alpha: 'white', ...decodeOptions });
        pixels.set(centerCrop(image, size).data, index * bytes);
      } catch (error) {
        if (!(error instanceof DataError) || error.code === 'RESIZE_BAD_SIZE') throw error;
        failures.set(index, error.message);
      }
      onProgress?.(++done, items.length);
    }
  };
  // All settle before the first error goes out, so that nothing writes behind the caller's back.
  const results = await Promise.allSettled(Array.from({ length: Math.max(1, concurrency) }, work));
  for (const result of results) if (result.status === 'rejected') throw result.reason;

  if (items.length > 0 && failures.size === items.length) {
    throw new DataError(
      'FOLDER_ALL_BROKEN',
      `None of the ${items.length} images can be read; the first failure: ${failures.get(0)}`,
    );
  }
  return withoutFailures(items, pixels, bytes, failures);
}

function withoutFailures(
  items: readonly ImageItem[],
  pixels: Uint8Array,
  bytes: number,
  failures: ReadonlyMap<number, string>,
): LoadedImages {
  const good: ImageItem[] = [];
  const skipped: LoadedImages['skipped'] = [];
  items.forEach((item, i) => {
    const reason = failures.get(i);
    if (reason !== undefined) {
      skipped.push({ path: item.path, reason });
      return;
    }
    if (good.length < i) pixels.copyWithin(good.length * bytes, i * bytes, (i + 1) * bytes);
    good.push(item);
  });
  return {
    pixels: pixels.subarray(0, good.length * bytes),
    labels: Int32Array.from(good, ({ label }) => label),
    items: good,
    skipped,
  };
}
