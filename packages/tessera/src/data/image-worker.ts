/** A worker of image-pool.ts: prepares the images it is told, two at a time, so that one is read while one is resized. */
import { parentPort, workerData } from 'node:worker_threads';
import sharp from 'sharp';
import type { FromWorker, ToWorker } from './image-pool.ts';
import { prepareImage } from './prepare-image.ts';
import type { ImageRecipe } from './variants.ts';

const { recipe } = workerData as { recipe: ImageRecipe };
const IN_FLIGHT = 2;
const port = parentPort!;
const queue: ToWorker[] = [];
let running = 0;

// Parallel by images; a thread pool inside each would only add to the crowd.
sharp.concurrency(1);
sharp.cache(false);

port.on('message', (message: ToWorker) => {
  queue.push(message);
  void work();
});
port.postMessage({ ready: true } satisfies FromWorker);

async function work(): Promise<void> {
  if (running >= IN_FLIGHT) return;
  running += 1;
  for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
    const { id, place } = next;
    try {
      const pixels = await prepareImage(place, recipe);
      port.postMessage({ id, pixels } satisfies FromWorker, [pixels.buffer as ArrayBuffer]);
    } catch (error) {
      port.postMessage({ id, reason: (error as Error).message } satisfies FromWorker);
    }
  }
  running -= 1;
}
