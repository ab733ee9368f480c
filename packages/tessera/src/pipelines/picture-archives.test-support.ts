/** Pictures for tests of evaluations: discs of random colour and place on a light ground. */

import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { encodeNpz } from '@tessera/formats';
import { Draws } from '@tessera/schedule';
import { encodePng } from '../data/contact-sheet.ts';
import type { RgbImage } from '../data/image.ts';

export interface DiscOptions {
  size?: number;
  /** In bytes. */
  noise?: number;
  /** Red, green, blue instead of a random colour. */
  colour?: readonly [number, number, number];
}

export function disc(seed: number, i: number, options: DiscOptions = {}): RgbImage {
  const { size = 16, noise = 0 } = options;
  const draws = new Draws(seed, 0, i, 4);
  const [x, y, radius] = [draws.uniform() * size, draws.uniform() * size, 2 + draws.uniform() * 5];
  const drawn = [draws.integer(256), draws.integer(256), draws.integer(256)];
  const colour = options.colour ?? drawn;
  const data = new Uint8Array(size * size * 3);
  for (let at = 0; at < size * size; at++) {
    const inside = Math.hypot((at % size) - x, Math.floor(at / size) - y) < radius;
    for (let c = 0; c < 3; c++) {
      const value = (inside ? colour[c]! : 230) + noise * (2 * draws.uniform() - 1);
      data[at * 3 + c] = Math.max(0, Math.min(255, Math.round(value)));
    }
  }
  return { width: size, height: size, data };
}

export function writeDiscs(path: string, count: number, seed: number, options: DiscOptions = {}): string {
  const { size = 16 } = options;
  const data = new Uint8Array(count * size * size * 3);
  for (let i = 0; i < count; i++) data.set(disc(seed, i, options).data, i * size * size * 3);
  writeFileSync(path, encodeNpz([['arr_0', { dtype: 'uint8', shape: [count, size, size, 3], data }]]));
  return path;
}

/** A folder a class: red, green and blue discs under the names given. */
export async function writeClassFolders(
  path: string,
  names: readonly string[],
  perClass: number,
  seed: number,
): Promise<string> {
  for (const [label, name] of names.entries()) {
    mkdirSync(join(path, name), { recursive: true });
    const colour = [0, 0, 0].map((_, c) => (c === label % 3 ? 230 : 20)) as [number, number, number];
    for (let i = 0; i < perClass; i++) {
      const png = await encodePng(disc(seed + label, i, { colour }));
      writeFileSync(join(path, name, `${String(i).padStart(3, '0')}.png`), png);
    }
  }
  return path;
}
