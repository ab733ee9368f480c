import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { hashNativeSources, writeCurrent } from '../../setup/cache.mjs';
import { AddonError, locateAddon } from './locate-addon.ts';

let folder: string;
let sources: string;
let env: NodeJS.ProcessEnv;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tessera addon '));
  sources = join(folder, 'native');
  mkdirSync(join(sources, 'generated'), { recursive: true });
  writeFileSync(join(sources, 'addon.cpp'), 'int a;');
  writeFileSync(join(sources, 'generated', 'ops.cpp'), 'int b;');
  env = { TESSERA_CACHE: join(folder, 'the cache') };
});

afterEach(() => rmSync(folder, { recursive: true, force: true }));

function record(nativeHash = hashNativeSources(sources)!) {
  const addon = join(folder, 'tessera_torch.node');
  const libtorch = { path: join(folder, 'libtorch'), version: '2.13.0', source: 'from a test', cuda: false };
  writeFileSync(addon, '');
  mkdirSync(libtorch.path);
  writeCurrent(env.TESSERA_CACHE!, { addon, libtorch, nativeHash, key: 'k' });
  return { addon, libtorch };
}

function codeOf(): string {
  try {
    locateAddon(env, sources);
  } catch (error) {
    expect(error).toBeInstanceOf(AddonError);
    expect((error as AddonError).message).toMatch(/^[^\n]*npm run setup[^\n]*npx tessera setup[^\n]*$/);
    return (error as AddonError).code;
  }
  return 'found';
}

describe('locateAddon', () => {
  it('returns what the set-up recorded', () => {
    record();
    expect(locateAddon(env, sources)).toEqual({
      addon: join(folder, 'tessera_torch.node'),
      libtorch: { path: join(folder, 'libtorch'), version: '2.13.0', source: 'from a test', cuda: false },
    });
  });

  it('accepts any addon where there are no sources', () => {
    record('0'.repeat(64));
    rmSync(sources, { recursive: true });
    expect(codeOf()).toBe('found');
  });

  it('names the command when nothing was set up', () => {
    expect(codeOf()).toBe('ADDON_MISSING');
  });

  it('treats a damaged record as none', () => {
    const own = `current-${hashNativeSources(sources)!.slice(0, 16)}.json`;
    record();
    rmSync(join(env.TESSERA_CACHE!, own));
    writeFileSync(join(env.TESSERA_CACHE!, 'current.json'), '{"addon": "/x"');
    expect(codeOf()).toBe('ADDON_MISSING');
    writeFileSync(join(env.TESSERA_CACHE!, 'current.json'), '{"addon": "/x"}');
    expect(codeOf()).toBe('ADDON_MISSING');
  });

  it('finds its own addon after another checkout has set up in the same cache', () => {
    const { addon, libtorch } = record();
    writeCurrent(env.TESSERA_CACHE!, {
      addon: join(folder, 'other.node'),
      libtorch: { path: libtorch.path, version: '2.13.0', source: 'from a test', cuda: false },
      nativeHash: '0'.repeat(64),
      key: 'other',
    });
    expect(locateAddon(env, sources).addon).toBe(addon);
  });

  it('notices a changed, a new and a renamed source', () => {
    record();
    writeFileSync(join(sources, 'generated', 'ops.cpp'), 'int c;');
    expect(codeOf()).toBe('ADDON_OUT_OF_DATE');
    writeFileSync(join(sources, 'generated', 'ops.cpp'), 'int b;');
    expect(codeOf()).toBe('found');
    writeFileSync(join(sources, 'more.cpp'), '');
    expect(codeOf()).toBe('ADDON_OUT_OF_DATE');
  });

  it('notices that the addon or libtorch was deleted', () => {
    const { addon, libtorch } = record();
    rmSync(libtorch.path, { recursive: true });
    expect(codeOf()).toBe('ADDON_MISSING');
    mkdirSync(libtorch.path);
    rmSync(addon);
    expect(codeOf()).toBe('ADDON_MISSING');
  });
});
