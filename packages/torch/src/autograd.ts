// Gradient recording, switched for a block.

import { addon } from './native/addon.ts';

/** Runs `body` without recording operations for the backward pass. */
export function noGrad<T>(body: () => T): T {
  return withGradMode(false, body);
}

/** Runs `body` with recording on, inside a noGrad block. */
export function enableGrad<T>(body: () => T): T {
  return withGradMode(true, body);
}

export function isGradEnabled(): boolean {
  return addon().isGradEnabled();
}

function withGradMode<T>(enabled: boolean, body: () => T): T {
  const native = addon();
  const before = native.isGradEnabled();
  native.setGradEnabled(enabled);
  try {
    return body();
  } finally {
    native.setGradEnabled(before);
  }
}
