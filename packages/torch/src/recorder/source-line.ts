// Where in the model's source an operation was called: the first frame outside the engine, mapped back to TypeScript
// where the compiler left a source map beside the file.

import { existsSync, readFileSync } from 'node:fs';
import { SourceMap } from 'node:module';
import { dirname, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { isOwnFrame } from '../own-frames.ts';

/** Such as `Linear.forward (packages/tessera/src/nn/layers.ts:27:12)`; `stack` as in `new Error().stack`. */
export function sourceLine(stack: string): string {
  const frames = stack.split('\n').filter((line) => line.trimStart().startsWith('at '));
  const frame = frames.find((line) => !isOwnFrame(line) && !line.includes('(node:')) ?? frames.at(-1);
  if (frame === undefined) return 'an unknown place';
  const match = /at (?:(.*) \()?(.*?):(\d+):(\d+)\)?$/.exec(frame.trim());
  if (match === null) return frame.trim().replace(/^at /, '');
  const [, name, place, line, column] = match;
  const path = place!.startsWith('file:') ? fileURLToPath(place!.replace(/\?.*$/, '')) : place!;
  const where = mapped(path, Number(line), Number(column));
  return name === undefined ? where : `${name} (${where})`;
}

function mapped(path: string, line: number, column: number): string {
  const map = `${path}.map`;
  if (path.endsWith('.js') && existsSync(map)) {
    const entry = new SourceMap(JSON.parse(readFileSync(map, 'utf8'))).findEntry(line - 1, column - 1);
    if ('originalSource' in entry) {
      const source = resolve(dirname(path), entry.originalSource);
      return `${relative(process.cwd(), source)}:${entry.originalLine + 1}:${entry.originalColumn + 1}`;
    }
  }
  return `${relative(process.cwd(), path)}:${line}:${column}`;
}
