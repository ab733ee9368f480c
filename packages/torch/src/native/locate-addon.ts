/**
 * Finds the built addon through the record that the set-up leaves in its cache, and refuses one that is older than its
 * C++ sources. Where things lie, and how sources are hashed, is written once: in the set-up's own cache module, which
 * needs no build and is shared here as it is.
 */

import { existsSync } from 'node:fs';
import { cacheFolder, hashNativeSources, type Libtorch, nativeFolder, readCurrent } from '../../setup/cache.mjs';

export type { Libtorch } from '../../setup/cache.mjs';

export type AddonErrorCode = 'ADDON_MISSING' | 'ADDON_OUT_OF_DATE';

/** The addon is not there or not usable; the message is one line that names the command to run. */
export class AddonError extends Error {
  readonly code: AddonErrorCode;

  constructor(code: AddonErrorCode, message: string) {
    super(message);
    this.name = 'AddonError';
    this.code = code;
  }
}

export interface LocatedAddon {
  /** Absolute path of the `.node` file. */
  readonly addon: string;
  /** The libtorch that it was built against and loads. */
  readonly libtorch: Libtorch;
}

const COMMAND = 'run "npm run setup" (in an installed package: "npx tessera setup").';

/** Throws AddonError when the set-up has not run, its files are gone, or the native sources are newer than the addon. */
export function locateAddon(env: NodeJS.ProcessEnv = process.env, sources: string = nativeFolder): LocatedAddon {
  const cache = cacheFolder(env);
  const hash = hashNativeSources(sources);
  const current = readCurrent(cache, hash);
  if (current === undefined) throw new AddonError('ADDON_MISSING', `The native addon is not built: ${COMMAND}`);
  if (hash !== undefined && hash !== current.nativeHash) {
    throw new AddonError('ADDON_OUT_OF_DATE', `The native addon is older than its sources: ${COMMAND}`);
  }
  for (const path of [current.addon, current.libtorch.path]) {
    if (!existsSync(path))
      throw new AddonError('ADDON_MISSING', `The native addon needs ${path}, which is gone: ${COMMAND}`);
  }
  return { addon: current.addon, libtorch: current.libtorch };
}
