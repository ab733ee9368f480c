import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { animatedGif, animatedWebp } from './contact-sheet.ts';
import { decodeImage } from './image.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tessera image ü '));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** Lossless PNG of interleaved 8-bit channels, 2 pixels wide, 1 high. */
function png(channels: 1 | 2 | 3 | 4, ...values: number[]): Promise<Buffer> {
  return sharp(Uint8Array.from(values), { raw: { width: 2, height: 1, channels } })
    .png()
    .toBuffer();
}

describe('kinds of pictures', () => {
  test('RGB comes as it is', async () => {
    const image = await decodeImage(await png(3, 1, 2, 3, 250, 251, 252));
    expect([image.width, image.height, ...image.data]).toEqual([2, 1, 1, 2, 3, 250, 251, 252]);
  });

  test('grey is repeated', async () => {
    const file = await sharp(Uint8Array.of(7, 200), { raw: { width: 2, height: 1, channels: 1 } })
      .toColourspace('b-w')
      .png()
      .toBuffer();
    expect((await sharp(file).metadata()).channels).toBe(1);
    expect([...(await decodeImage(file)).data]).toEqual([7, 7, 7, 200, 200, 200]);
  });

  test('a palette is looked up', async () => {
    const file = await sharp(Uint8Array.of(255, 0, 0, 0, 0, 255), { raw: { width: 2, height: 1, channels: 3 } })
      .png({ palette: true })
      .toBuffer();
    expect((await sharp(file).metadata()).isPalette).toBe(true);
    expect([...(await decodeImage(file)).data]).toEqual([255, 0, 0, 0, 0, 255]);
  });

  test('alpha is dropped, or laid on white', async () => {
    const file = await png(4, 10, 20, 30, 0, 100, 100, 100, 128);
    expect([...(await decodeImage(file)).data]).toEqual([10, 20, 30, 100, 100, 100]);
    // 100 · 128/255 + 255 · 127/255 = 177.2
    expect([...(await decodeImage(file, { alpha: 'white' })).data]).toEqual([255, 255, 255, 177, 177, 177]);
  });

  test('grey with alpha', async () => {
    const file = await sharp(Uint8Array.of(50, 255, 50, 0), { raw: { width: 2, height: 1, channels: 2 } })
      .toColourspace('b-w')
      .png()
      .toBuffer();
    expect([...(await decodeImage(file)).data]).toEqual([50, 50, 50, 50, 50, 50]);
    expect([...(await decodeImage(file, { alpha: 'white' })).data]).toEqual([50, 50, 50, 255, 255, 255]);
  });

  test('16 bits keep the high byte, in colour and in grey', async () => {
    const rgb = await sharp(Uint16Array.of(0x01ff, 0x80ff, 0xffff, 0x00ff, 0x7fff, 0xfe80), {
      raw: { width: 2, height: 1, channels: 3 },
    })
      .toColourspace('rgb16')
      .png()
      .toBuffer();
    expect((await sharp(rgb).metadata()).depth).toBe('ushort');
    expect([...(await decodeImage(rgb)).data]).toEqual([1, 128, 255, 0, 127, 254]);
    const grey = await sharp(Uint16Array.of(0x02ff, 0xf0f0), { raw: { width: 2, height: 1, channels: 1 } })
      .toColourspace('grey16')
      .png()
      .toBuffer();
    expect((await sharp(grey).metadata()).space).toBe('grey16');
    expect([...(await decodeImage(grey)).data]).toEqual([2, 2, 2, 240, 240, 240]);
  });

  test('CMYK is converted by the plain formula', async () => {
    const { width, height, data } = await decodeImage(cmykTiff([0, 0, 0, 0], [255, 0, 51, 0], [10, 20, 30, 40]));
    // light = 255 - 40 = 215; 10 · 215 / 255 = 8.43, 20 -> 16.86, 30 -> 25.29
    expect([width, height, ...data]).toEqual([3, 1, 255, 255, 255, 0, 255, 204, 207, 198, 190]);
  });

  test('a CMYK JPEG (inverted by convention) keeps white white and red red', async () => {
    const red = { create: { width: 16, height: 16, channels: 3 as const, background: '#ff0000' } };
    const file = await sharp(red).toColourspace('cmyk').jpeg({ quality: 100 }).toBuffer();
    expect((await sharp(file).metadata()).space).toBe('cmyk');
    const [r, g, b] = (await decodeImage(file)).data;
    expect(r).toBeGreaterThan(200);
    expect(g).toBeLessThan(60);
    expect(b).toBeLessThan(60);
  });

  test('animations give their first frame', async () => {
    const frames = [40, 90, 200].map((v) => ({ width: 4, height: 4, data: new Uint8Array(48).fill(v) }));
    for (const file of [await animatedGif(frames), await animatedWebp(frames)]) {
      const image = await decodeImage(file);
      expect([image.width, image.height]).toEqual([4, 4]);
      expect(new Set(image.data)).toEqual(new Set([40]));
    }
  });

  test('the orientation is ignored, or applied', async () => {
    // 6: turn by 90° clockwise.
    const file = await sharp(await png(3, 255, 0, 0, 0, 0, 255))
      .withMetadata({ orientation: 6 })
      .png()
      .toBuffer();
    const stored = await decodeImage(file);
    expect([stored.width, stored.height, ...stored.data]).toEqual([2, 1, 255, 0, 0, 0, 0, 255]);
    const turned = await decodeImage(file, { orientation: 'apply' });
    expect([turned.width, turned.height]).toEqual([1, 2]);
  });

  test('an embedded colour profile changes nothing', async () => {
    const plain = await png(3, 30, 200, 90, 5, 5, 250);
    const tagged = await sharp(plain).withIccProfile('p3', { attach: true }).png().toBuffer();
    const pixels = (await sharp(tagged, { ignoreIcc: true }).raw().toBuffer()).values();
    expect((await sharp(tagged).metadata()).icc).toBeDefined();
    expect([...(await decodeImage(tagged)).data]).toEqual([...pixels]);
  });

  test('a file under a name with spaces and letters beyond ASCII', async () => {
    const path = join(folder, 'große Blüte 花 🌸.png');
    await writeFile(path, await png(3, 1, 2, 3, 4, 5, 6));
    expect([...(await decodeImage(path)).data]).toEqual([1, 2, 3, 4, 5, 6]);
  });
});

describe('what is refused, in one sentence', () => {
  const fails = async (source: string | Uint8Array, code: string, text: RegExp) => {
    const error = await decodeImage(source).then(
      () => null,
      (e) => e,
    );
    expect(error).toMatchObject({ name: 'DataError', code });
    expect(error.message).toMatch(text);
    expect(error.message).not.toContain('\n');
  };

  test('an empty file, a text file and a missing file', async () => {
    const empty = join(folder, 'empty.jpg');
    await writeFile(empty, '');
    await fails(empty, 'IMAGE_EMPTY', /empty\.jpg/);
    await fails(new Uint8Array(0), 'IMAGE_EMPTY', /empty file/);
    const text = join(folder, 'text.jpg');
    await writeFile(text, 'not a picture at all, only words');
    await fails(text, 'IMAGE_UNREADABLE', /text\.jpg/);
    await fails(join(folder, 'nowhere.png'), 'IMAGE_UNREADABLE', /no such file/);
    await fails(folder, 'IMAGE_UNREADABLE', /directory/);
  });

  test('an SVG, whatever it is called', async () => {
    const svg = '<svg xmlns="http://www.w3.org/2000/svg" width="4" height="4"><rect width="4" height="4"/></svg>';
    await fails(Buffer.from(svg), 'IMAGE_UNREADABLE', /it is svg/);
  });

  test('truncated files', async () => {
    const noise = Uint8Array.from({ length: 64 * 64 * 3 }, (_, i) => (i * i * 31) % 251);
    const image = sharp(noise, { raw: { width: 64, height: 64, channels: 3 } });
    for (const file of [await image.clone().png().toBuffer(), await image.clone().jpeg().toBuffer()]) {
      await decodeImage(file);
      await fails(file.subarray(0, file.length >> 1), 'IMAGE_UNREADABLE', /Cannot read an image/);
      await fails(file.subarray(0, 20), 'IMAGE_UNREADABLE', /Cannot read an image/);
    }
  });

  test('more pixels than allowed, before decoding', async () => {
    const file = await sharp({ create: { width: 300, height: 200, channels: 3, background: '#123' } })
      .png()
      .toBuffer();
    await expect(decodeImage(file, { maxPixels: 59_999 })).rejects.toMatchObject({ code: 'IMAGE_TOO_LARGE' });
    expect((await decodeImage(file, { maxPixels: 60_000 })).width).toBe(300);
    // A PNG header that claims 40,000 × 40,000: refused from the header alone.
    const lying = Buffer.from(file);
    lying.writeUInt32BE(40_000, 16);
    lying.writeUInt32BE(40_000, 20);
    await expect(decodeImage(lying)).rejects.toMatchObject({ name: 'DataError' });
  });
});

/** An uncompressed little-endian CMYK TIFF of one row. */
function cmykTiff(...pixels: number[][]): Buffer {
  const data = Buffer.from(pixels.flat());
  const tags: [tag: number, type: number, count: number, value: number][] = [
    [256, 4, 1, pixels.length], // width
    [257, 4, 1, 1], // height
    [258, 3, 4, 8], // bits of each channel, at the offset filled in below
    [259, 3, 1, 1], // no compression
    [262, 3, 1, 5], // separated: CMYK
    [273, 4, 1, 0], // where the pixels begin, filled in below
    [277, 3, 1, 4], // channels
    [278, 4, 1, 1], // rows in the strip
    [279, 4, 1, data.length],
    [284, 3, 1, 1], // interleaved
  ];
  const bitsAt = 8 + 2 + tags.length * 12 + 4;
  const pixelsAt = bitsAt + 8;
  const head = Buffer.alloc(pixelsAt);
  head.write('II*\0', 'latin1');
  head.writeUInt32LE(8, 4);
  head.writeUInt16LE(tags.length, 8);
  tags.forEach(([tag, type, count, value], i) => {
    const at = 10 + i * 12;
    head.writeUInt16LE(tag, at);
    head.writeUInt16LE(type, at + 2);
    head.writeUInt32LE(count, at + 4);
    head.writeUInt32LE(tag === 258 ? bitsAt : tag === 273 ? pixelsAt : value, at + 8);
  });
  for (let i = 0; i < 4; i++) head.writeUInt16LE(8, bitsAt + i * 2);
  return Buffer.concat([head, data]);
}
