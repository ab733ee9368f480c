// Copies what a bare machine needs of the built project into a folder: packages with their dist and native sources, the
// npm packages that run time needs, the scripts of bench/gpu, the parity runners as JavaScript. For prepare.sh.
//
//   node bench/gpu/stage.mjs FOLDER

import { cpSync, mkdirSync, readdirSync, readFileSync, realpathSync, symlinkSync, writeFileSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

const root = resolve(fileURLToPath(new URL('../..', import.meta.url)));
const target = resolve(process.argv[2]);
const PACKAGES = {
  formats: ['dist'],
  schedule: ['dist'],
  torch: ['dist', 'native', 'setup'],
  tessera: ['dist', 'bin', 'data'],
};
/** The emoji sets are pictures that nothing here draws. */
const LEFT_OUT = /^@iconify-json\/|^@tessera\//;
const TESTS = /\.(test|test-support)\.|\.map$|\.tsbuildinfo$|\.d\.ts$/;

writeFileSync(join(target, 'package.json'), readFileSync(join(root, 'package.json')));
for (const [name, parts] of Object.entries(PACKAGES)) {
  const [from, to] = [root, target].map((folder) => join(folder, 'packages', name));
  mkdirSync(to, { recursive: true });
  cpSync(join(from, 'package.json'), join(to, 'package.json'));
  for (const part of parts)
    cpSync(join(from, part), join(to, part), { recursive: true, filter: (path) => !TESTS.test(path) });
}
mkdirSync(join(target, 'node_modules/@tessera'), { recursive: true });
for (const name of ['formats', 'schedule', 'torch'])
  symlinkSync(`../../packages/${name}`, join(target, 'node_modules/@tessera', name));
symlinkSync('../packages/tessera', join(target, 'node_modules/tessera'));
for (const name of needed()) {
  const from = realpathSync(join(root, 'node_modules', name));
  cpSync(from, join(target, 'node_modules', name), {
    recursive: true,
    filter: (path) => !/\.(map|md|cts|mts)$|\.d\.ts$/.test(path),
  });
}
cpSync(join(root, 'bench/gpu'), join(target, 'bench/gpu'), { recursive: true });
transpile(join(root, 'test/parity'), join(target, 'parity'));

/** Names of npm packages that the packages depend on, and those on. Optional ones are taken where they are installed. */
function needed() {
  const found = new Set();
  const visit = (folder) => {
    const { dependencies = {}, optionalDependencies = {} } = JSON.parse(
      readFileSync(join(folder, 'package.json'), 'utf8'),
    );
    for (const name of Object.keys({ ...dependencies, ...optionalDependencies })) {
      if (found.has(name) || LEFT_OUT.test(name)) continue;
      try {
        const inner = join(root, 'node_modules', name);
        visit(realpathSync(inner));
        found.add(name);
      } catch (error) {
        if (error.code !== 'ENOENT') throw error;
      }
    }
  };
  for (const name of Object.keys(PACKAGES)) visit(join(root, 'packages', name));
  return found;
}

function transpile(from, to) {
  mkdirSync(to, { recursive: true });
  for (const entry of readdirSync(from, { withFileTypes: true })) {
    const path = join(from, entry.name);
    if (entry.isDirectory()) transpile(path, join(to, entry.name));
    if (!entry.name.endsWith('.ts') || entry.name.endsWith('.test.ts')) continue;
    const { outputText } = ts.transpileModule(readFileSync(path, 'utf8'), {
      compilerOptions: { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2022 },
    });
    const file = join(to, basename(path).replace(/\.ts$/, '.js'));
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, outputText.replaceAll(/(from '\.[^']*)\.ts'/g, "$1.js'"));
  }
}
