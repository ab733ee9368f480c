// Reads operations.txt and writes the C++ glue and the TypeScript face of every operation, so that the two can never
// disagree about an argument. Run after editing the table:  node packages/torch/codegen/generate.mjs
// The outputs are committed; a test regenerates them and compares.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { cppFiles } from './emit-cpp.mjs';
import { typescriptFiles } from './emit-typescript.mjs';
import { parseTable } from './parse-table.mjs';

const here = dirname(fileURLToPath(import.meta.url));

/** @returns {Map<string, string>} path relative to the package → content */
export function generate() {
  const operations = parseTable(readFileSync(join(here, 'operations.txt'), 'utf8'));
  return new Map([...cppFiles(operations), ...typescriptFiles(operations)]);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  for (const [path, content] of generate()) {
    const target = join(here, '..', path);
    mkdirSync(dirname(target), { recursive: true });
    writeFileSync(target, content);
  }
}
