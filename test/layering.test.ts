import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { type File, findBadEdges, findUnknownFolders } from './import-graph.ts';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..');

function readSources(): File[] {
  const files: File[] = [];
  const walk = (folder: string) => {
    for (const entry of readdirSync(join(root, folder), { withFileTypes: true })) {
      const path = `${folder}/${entry.name}`;
      if (entry.isDirectory() && entry.name !== 'node_modules') walk(path);
      else if (entry.isFile() && /\.tsx?$/.test(entry.name))
        files.push({ path, text: readFileSync(join(root, path), 'utf8') });
    }
  };
  for (const entry of readdirSync(join(root, 'packages'), { withFileTypes: true })) {
    const source = readdirSync(join(root, 'packages', entry.name)).includes('src');
    if (source) walk(`packages/${entry.name}/src`);
  }
  return files;
}

describe('the house', () => {
  const files = readSources();

  it('has its sources where the test looks', () => {
    expect(files.map(({ path }) => path)).toContain('packages/tessera/src/index.ts');
  });

  it('has no forbidden import', () => {
    expect(findBadEdges(files)).toEqual([]);
  });

  it('has no package and no folder that the lists do not name', () => {
    expect(findUnknownFolders(files)).toEqual([]);
  });
});

/** The verdicts on one file that imports `name`, where every file that it could mean exists. */
function verdict(path: string, name: string, statement = `import { x } from '${name}';`): string[] {
  const others = ['nn/a', 'models/a', 'sampling/a', 'training/a', 'extra/a', 'index'].map((other) => ({
    path: `packages/tessera/src/${other}.ts`,
    text: '',
  }));
  return findBadEdges([...others, { path, text: statement }]);
}

describe('findBadEdges', () => {
  const src = 'packages/tessera/src';

  it.each([
    [`${src}/models/b.ts`, '../nn/a.ts'],
    [`${src}/models/b.ts`, './a.ts'],
    [`${src}/training/b.ts`, '../sampling/a.ts'],
    [`${src}/training/b.test.ts`, '../extra/a.ts'],
    [`${src}/nn/b.test.ts`, '../training/a.ts'],
    [`${src}/index.ts`, './models/a.ts'],
    [`${src}/nn/b.ts`, '@tessera/torch'],
    [`${src}/nn/b.ts`, 'zod'],
    ['packages/torch/src/b.ts', '../setup/cache.mjs'],
    ['packages/torch/src/b.ts', '@tessera/formats'],
    ['packages/browser/src/b.ts', '@tessera/schedule'],
    ['packages/schedule/src/b.test.ts', 'node:fs'],
  ])('allows %s to import %s', (path, name) => {
    expect(verdict(path, name)).toEqual([]);
  });

  it.each([
    [`${src}/nn/b.ts`, '../models/a.ts', 'nn stands above models'],
    [`${src}/models/b.ts`, '../sampling/a.ts', 'models stands above sampling'],
    [`${src}/sampling/b.ts`, '../models/a.ts', 'do not know each other'],
    [`${src}/models/b.ts`, '../index.ts', 'only the package entry'],
    [`${src}/models/b.ts`, '../extra/a.ts', 'not in the list of folders'],
    [`${src}/extra/b.ts`, '../nn/a.ts', 'not in the list of folders'],
    [`${src}/models/b.ts`, './gone.ts', 'no such file'],
    [`${src}/models/b.ts`, 'tessera', 'imports use paths'],
    [`${src}/models/b.ts`, '@tessera/studio', 'tessera stands above studio'],
    [`${src}/nn/b.test.ts`, '@tessera/studio', 'tessera stands above studio'],
    [`${src}/nn/b.ts`, '../../../torch/src/index.ts', 'by its name'],
    [`${src}/nn/b.ts`, '@tessera/else', 'no such package'],
    ['packages/torch/src/b.ts', 'tessera', 'torch stands above tessera'],
    ['packages/schedule/src/b.ts', '@tessera/torch/deep', 'schedule stands above torch'],
    ['packages/schedule/src/b.ts', 'node:fs', 'without Node'],
    ['packages/browser/src/b.ts', '@tessera/torch', 'only formats and schedule'],
    ['packages/else/src/b.ts', 'zod', 'not in the list of packages'],
  ])('forbids %s to import %s', (path, name, why) => {
    const [line, ...more] = verdict(path, name);
    expect(line).toContain(`${path} imports ${name}: `);
    expect(line).toContain(why);
    expect(more).toEqual([]);
  });

  it.each([
    `export * from '../models/a.ts';`,
    `import type { X } from '../models/a.ts';`,
    `const x = await import('../models/a.ts');`,
    `type X = import('../models/a.ts').X;`,
    `import '../models/a.ts';`,
  ])('sees %s', (statement) => {
    expect(verdict(`${src}/nn/b.ts`, '', statement)).toHaveLength(1);
  });

  it('names unknown folders and stray files', () => {
    const files = ['utils/a.ts', 'nn/a.ts', 'errors.ts', 'index.ts'].map((path) => ({
      path: `${src}/${path}`,
      text: '',
    }));
    expect(findUnknownFolders([...files, { path: 'packages/more/src/a.ts', text: '' }])).toEqual([
      'packages/more',
      `${src}/errors.ts`,
      `${src}/utils`,
    ]);
  });
});
