/**
 * Sample archives as the reference evaluators read them: `arr_0`, uint8 [N, Y, X, 3]. Pictures go to the disk one by one,
 * so any number of them fits in memory (50,000 of 256 px are 9.8 GB). An archive is whole or absent.
 */

import { closeSync, mkdirSync, openSync, renameSync, rmSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { NpzArrayStream } from '@tessera/formats';
import type { RgbImage } from '../data/image.ts';
import { temporaryOfMany } from '../data/whole-folder.ts';

export class ImagesNpzWriter {
  private readonly path: string;
  private readonly temporary: string;
  private readonly stream: NpzArrayStream;
  private file: number | undefined;

  /** @param path replaced when all `count` pictures of `imageSize` pixels a side are there */
  constructor(path: string, count: number, imageSize: number, options: { zip64?: boolean } = {}) {
    this.path = path;
    this.temporary = temporaryOfMany(path);
    this.stream = new NpzArrayStream('arr_0', 'uint8', [count, imageSize, imageSize, 3], options);
    mkdirSync(dirname(path), { recursive: true });
    this.file = openSync(this.temporary, 'w');
    this.write(this.stream.start());
  }

  /** The next picture. */
  add({ data }: RgbImage): void {
    this.stream.add(data);
    this.write(data);
  }

  finish(): void {
    const { head, tail } = this.stream.finish();
    this.write(tail);
    writeSync(this.file!, head, 0, head.length, 0);
    this.close();
    renameSync(this.temporary, this.path);
  }

  /** Removes what has not been finished. */
  dispose(): void {
    if (this.file === undefined) return;
    this.close();
    rmSync(this.temporary, { force: true });
  }

  private write(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; ) at += writeSync(this.file!, bytes, at);
  }

  private close(): void {
    closeSync(this.file!);
    this.file = undefined;
  }
}
