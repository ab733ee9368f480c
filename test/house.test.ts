import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..');
const CODE = /\.(ts|tsx|mts|mjs|js|cpp|cu|h|html|css|py|sh)$/;
const MAX_LINES = 600;

/** Tracked files, and new ones that git does not ignore. */
const tracked = execFileSync('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard'], { cwd: root })
  .toString()
  .split('\0')
  .filter((path) => path !== '' && existsSync(join(root, path)));

/** Home folders, work folders and the hosts of package registries: true of one machine, or chosen by it. */
const MACHINE = [
  /(?<![\w.~/-])\/(?:home|Users)\/\w+/,
  /(?<![\w.~/-])\/(?:root|work)\//,
  new RegExp(['registry.npmjs', 'org'].join('\\.')),
  new RegExp(['pypi', 'org'].join('\\.')),
  new RegExp(['files', 'pythonhosted'].join('\\.')),
  new RegExp(['deb', 'debian', 'org'].join('\\.')),
];

describe('tracked files', () => {
  it(`hold at most ${MAX_LINES} lines of code`, () => {
    const long = tracked
      .filter((path) => CODE.test(path) && !path.split('/').includes('generated'))
      .map((path) => ({ path, lines: readFileSync(join(root, path), 'utf8').split('\n').length }))
      .filter(({ lines }) => lines > MAX_LINES);
    expect(long).toEqual([]);
  });

  it('name no machine paths and no registry hosts', () => {
    const found: string[] = [];
    for (const path of tracked) {
      const bytes = readFileSync(join(root, path));
      if (path === 'test/house.test.ts' || bytes.subarray(0, 8192).includes(0)) continue;
      bytes
        .toString()
        .split('\n')
        .forEach((line, i) => {
          if (MACHINE.some((pattern) => pattern.test(line)))
            found.push(`${path}:${i + 1}: ${line.trim().slice(0, 100)}`);
        });
    }
    expect(found).toEqual([]);
  });
});

describe('package.json files', () => {
  const files = tracked.filter((path) => path.split('/').at(-1) === 'package.json');

  it('are there', () => {
    expect(files).toContain('package.json');
    expect(files).toContain('packages/torch/package.json');
  });

  it.each(files)('%s pins every dependency exactly', (path) => {
    const json = JSON.parse(readFileSync(join(root, path), 'utf8'));
    const all = { ...json.dependencies, ...json.devDependencies, ...json.optionalDependencies };
    const loose = Object.entries(all).filter(([, version]) => !/^\d+\.\d+\.\d+(-[\w.]+)?$/.test(version as string));
    expect(loose).toEqual([]);
  });
});
