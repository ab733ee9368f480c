/** Where the models lie that are shipped beside this package, if they are installed. */

import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';

/** The folder of a shipped model such as `emoji-32`, or undefined. */
export function shippedModel(name: string): string | undefined {
  const config = shippedFile(join(name, 'config.json'));
  return config === undefined ? undefined : dirname(config);
}

/** A shipped file such as `local-extractor/model.safetensors`, or undefined. */
export function shippedFile(name: string): string | undefined {
  try {
    const root = dirname(createRequire(import.meta.url).resolve('@tessera/models-emoji/package.json'));
    const path = join(root, name);
    return existsSync(path) ? path : undefined;
  } catch {
    return undefined;
  }
}
