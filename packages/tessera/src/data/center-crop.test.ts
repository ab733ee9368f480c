import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { centerCrop, roundHalfToEven } from './center-crop.ts';
import type { RgbImage } from './image.ts';

test('ties are rounded to even', () => {
  expect([0.5, 1.5, 2.5, 2.4999, 2.5001, 3.5, 7].map(roundHalfToEven)).toEqual([0, 2, 2, 2, 3, 4, 7]);
});

test('the middle of a wide and of a tall picture', () => {
  const wide = { width: 5, height: 2, data: Uint8Array.from({ length: 30 }, (_, i) => i) };
  // offset (5 - 2) // 2 = 1: columns 1 and 2
  expect([...centerCrop(wide, 2).data]).toEqual([3, 4, 5, 6, 7, 8, 18, 19, 20, 21, 22, 23]);
  const tall = { width: 1, height: 4, data: Uint8Array.from({ length: 12 }, (_, i) => i) };
  expect([...centerCrop(tall, 1).data]).toEqual([3, 4, 5]);
});

test('a size that is no whole positive number is refused', () => {
  const image = { width: 1, height: 1, data: new Uint8Array(3) };
  expect(() => centerCrop(image, 0)).toThrow(expect.objectContaining({ code: 'RESIZE_BAD_SIZE' }));
});

describe('reference values', () => {
  const goldenDir = process.env.GOLDEN_DIR ?? fileURLToPath(new URL('../../../../../shared/golden', import.meta.url));
  const cases = existsSync(goldenDir) ? cropCases(goldenDir) : [];

  test('are at hand', () => {
    if (cases.length === 0) console.log(`center-crop: no reference values in ${goldenDir}`);
    if (process.env.REQUIRE_SHARED === '1') expect(cases.length).toBeGreaterThan(0);
  });

  for (const { id, size, input, output } of cases) {
    test(`${id}: equal in every byte`, () => {
      const cropped = centerCrop(input, size);
      expect([cropped.width, cropped.height]).toEqual([output.width, output.height]);
      expect(Buffer.compare(cropped.data, output.data)).toBe(0);
    });
  }
});

interface CropCase {
  id: string;
  size: number;
  input: RgbImage;
  output: RgbImage;
}

interface ImageReference {
  tensor?: string;
  file?: string;
  /** Name of a rule in the manifest that makes the picture from `height`, `width` and `salt`. */
  imageRule?: string;
  height: number;
  width: number;
  salt: number;
}

function cropCases(goldenDir: string): CropCase[] {
  const cases: CropCase[] = [];
  for (const folder of readdirSync(goldenDir)) {
    const manifestPath = join(goldenDir, folder, 'manifest.json');
    if (!existsSync(manifestPath)) continue;
    const { cases: entries, rules } = JSON.parse(readFileSync(manifestPath, 'utf8'));
    for (const entry of entries) {
      if (entry.kind !== 'center-crop') continue;
      const read = (reference: ImageReference) =>
        reference.tensor === undefined
          ? hashImage(reference, rules[reference.imageRule!], rules)
          : readImage(join(goldenDir, folder, reference.file ?? entry.file), reference.tensor);
      cases.push({
        id: entry.id,
        size: entry.params.size,
        input: read(entry.inputs.image),
        output: read(entry.outputs.image),
      });
    }
  }
  return cases;
}

/** A uint8 [Y, X, 3] tensor of a safetensors file: 8 bytes header length, JSON header, data. */
function readImage(path: string, tensor: string): RgbImage {
  const bytes = readFileSync(path);
  const headerEnd = 8 + Number(bytes.readBigUInt64LE(0));
  const { dtype, shape, data_offsets } = JSON.parse(bytes.toString('utf8', 8, headerEnd))[tensor];
  expect(dtype).toBe('U8');
  const [height, width] = shape;
  return { width, height, data: bytes.subarray(headerEnd + data_offsets[0], headerEnd + data_offsets[1]) };
}

interface HashImageRule {
  coefficients: { x: number; y: number; channel: number };
  product: { floorDivide: number };
  modulus: number;
  noiseLevels: number;
  uniform: string;
}

interface SaltedHashRule {
  saltMultiplier: number;
  mix: { xorShiftRight?: number; multiply?: number }[];
}

/** The rule `hash-image`: a gradient of known slopes plus noise from the rule `salted-hash`. */
function hashImage(
  { height, width, salt }: ImageReference,
  rule: HashImageRule,
  rules: Record<string, unknown>,
): RgbImage {
  const { saltMultiplier, mix } = rules[rule.uniform] as SaltedHashRule;
  const data = new Uint8Array(height * width * 3);
  for (let i = 0; i < data.length; i++) {
    const c = i % 3;
    const x = Math.floor(i / 3) % width;
    const y = Math.floor(i / 3 / width);
    let h = (i + Math.imul(salt, saltMultiplier)) >>> 0;
    for (const { xorShiftRight, multiply } of mix) {
      h = xorShiftRight === undefined ? Math.imul(h, multiply!) : h ^ (h >>> xorShiftRight);
      h >>>= 0;
    }
    const slopes = rule.coefficients.x * x + rule.coefficients.y * y + rule.coefficients.channel * c;
    const base = (slopes + Math.floor((x * y) / rule.product.floorDivide)) % rule.modulus;
    data[i] = base + Math.floor((rule.noiseLevels * h) / 2 ** 32);
  }
  return { width, height, data };
}
