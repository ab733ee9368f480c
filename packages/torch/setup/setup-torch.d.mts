import type { Current } from './cache.mjs';

/**
 * Finds or fetches libtorch and builds the addon; skips what is done. `log` gets one line a step, with its time.
 * Throws SetupFailure with one message that says what is missing and what to do.
 */
export declare function setupTorch(options: {
  log: (line: string) => void;
  progress?: (text: string) => void;
  env?: NodeJS.ProcessEnv;
}): Promise<Current>;
/** Time since `started` (milliseconds, from Date.now()), as text. */
export declare function seconds(started: number): string;
