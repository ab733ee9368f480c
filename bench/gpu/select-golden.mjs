// Names of the files of a set of reference values that fit into a number of bytes: whole cases, of every kind and folder
// first one, then a second one, and so on, small ones first. Manifests always come. For prepare.sh.
//
//   node bench/gpu/select-golden.mjs FOLDER BYTES

import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join, relative } from 'node:path';

const [root, bytesText] = process.argv.slice(2);
const chosen = new Set();
let left = Number(bytesText);

const cases = manifests(root).flatMap((folder) => {
  take(join(folder, 'manifest.json'));
  const manifest = JSON.parse(readFileSync(join(folder, 'manifest.json'), 'utf8'));
  const counts = new Map();
  return manifest.cases.map((item) => {
    const turn = counts.get(item.kind) ?? 0;
    counts.set(item.kind, turn + 1);
    const files = new Set(
      [...textsIn(item), ...textsIn(manifest.weights ?? [])].map((text) => join(folder, text)).filter(isFile),
    );
    return { turn, files: [...files] };
  });
});
const size = (files) => files.reduce((sum, file) => sum + statSync(file).size, 0);
for (const { files } of cases.sort((a, b) => a.turn - b.turn || size(a.files) - size(b.files))) {
  const fresh = files.filter((file) => !chosen.has(file));
  if (size(fresh) <= left) fresh.forEach(take);
}
const names = [...chosen].map((file) => relative(root, file));
process.stderr.write(`reference values: ${names.length} files, ${(size([...chosen]) / 2 ** 20).toFixed(1)} MiB\n`);
console.log(names.sort().join('\n'));

function take(file) {
  chosen.add(file);
  left -= statSync(file).size;
}

function isFile(path) {
  return existsSync(path) && statSync(path).isFile();
}

function textsIn(value) {
  if (typeof value === 'string') return value.length < 200 ? [value] : [];
  if (typeof value !== 'object' || value === null) return [];
  return Object.values(value).flatMap(textsIn);
}

function manifests(folder) {
  const here = isFile(join(folder, 'manifest.json')) ? [folder] : [];
  const below = readdirSync(folder, { withFileTypes: true }).filter((entry) => entry.isDirectory());
  return [...here, ...below.flatMap(({ name }) => manifests(join(folder, name)))];
}
