/** Settings compared as data: a hash that does not depend on key order, and where two of them differ. */

import { createHash } from 'node:crypto';

/** SHA-256 of the settings as JSON with sorted keys, as hexadecimal digits. */
export function hashConfig(config: unknown): string {
  return createHash('sha256')
    .update(canonical(plain(config)))
    .digest('hex');
}

/** Lines such as `training.seed: 1 there, 2 now`, for every leaf that differs. */
export function configDifferences(there: unknown, now: unknown): string[] {
  const before = leaves(plain(there));
  const after = leaves(plain(now));
  const keys = new Set([...before.keys(), ...after.keys()]);
  return [...keys]
    .filter((key) => before.get(key) !== after.get(key))
    .sort()
    .map((key) => `${key}: ${before.get(key) ?? 'nothing'} there, ${after.get(key) ?? 'nothing'} now`);
}

/** What JSON keeps of a value: no undefined, no class. */
function plain(config: unknown): unknown {
  return JSON.parse(JSON.stringify(config));
}

function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`;
  if (typeof value === 'object' && value !== null) {
    const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
    return `{${entries.map(([key, entry]) => `${JSON.stringify(key)}:${canonical(entry)}`).join(',')}}`;
  }
  return JSON.stringify(value);
}

function leaves(value: unknown, path = '', found = new Map<string, string>()): Map<string, string> {
  const nested = typeof value === 'object' && value !== null && !Array.isArray(value) && Object.keys(value).length > 0;
  if (!nested) found.set(path === '' ? 'the whole' : path, canonical(value));
  else for (const [key, entry] of Object.entries(value)) leaves(entry, path === '' ? key : `${path}.${key}`, found);
  return found;
}
