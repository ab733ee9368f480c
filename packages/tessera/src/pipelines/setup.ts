/** Sets the engine up: libtorch and the native addon, by the set-up that `npm run setup` uses (docs/setup.md). */

import { setupTorch } from '@tessera/torch/setup';
import type { PipelineEvent } from './events.ts';

export interface SetupOptions {
  signal?: AbortSignal;
}

/** The result names the addon, the libtorch and its version. */
export async function* setup(options: SetupOptions = {}): AsyncGenerator<PipelineEvent> {
  const { signal } = options;
  yield { kind: 'stage', stage: 'setup', message: 'Setting up the engine: libtorch and the native addon' };
  const lines: string[] = [];
  let wake = (): void => {};
  let settled = false;
  const work = setupTorch({
    log: (line) => {
      lines.push(line);
      wake();
    },
  }).finally(() => {
    settled = true;
    wake();
  });
  // Awaited below; until then a failure is not unhandled.
  work.catch(() => {});
  while (!settled || lines.length > 0) {
    const line = lines.shift();
    if (line !== undefined) yield { kind: 'note', message: line };
    else await new Promise<void>((resolve) => (wake = resolve));
  }
  try {
    const { addon, libtorch } = await work;
    yield {
      kind: 'result',
      result: { addon, libtorch: libtorch.path, version: libtorch.version, cuda: libtorch.cuda },
    };
  } catch (error) {
    // Ctrl-C reaches the compiler as well; that it failed is then no news.
    signal?.throwIfAborted();
    throw error;
  }
}
