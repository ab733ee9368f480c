import type { Libtorch } from './cache.mjs';

/** Takes the first way to a libtorch that works; throws SetupFailure naming all ways when none does. */
export declare function locateLibtorch(
  cache: string,
  env: NodeJS.ProcessEnv,
  progress?: (text: string) => void,
): Promise<Libtorch & { fetched: boolean }>;
