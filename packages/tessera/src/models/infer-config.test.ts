import { describe, expect, it } from 'vitest';
import { initialise } from '../nn/module.ts';
import { Enat, enatConfigSchema } from './enat.ts';
import { inferEnatConfig } from './infer-config.ts';

const config = enatConfigSchema.parse({
  gridSize: 3,
  codebookSize: 20,
  numClasses: 5,
  embedDim: 12,
  encoderDepth: 3,
  decoderDepth: 1,
  numHeads: 4,
  mlpRatio: 2,
});

function shapesOf(): Map<string, readonly number[]> {
  const model = initialise((p) => new Enat(config, p));
  const shapes = new Map([...model.state].map(([name, tensor]) => [name, tensor.shape] as const));
  model.dispose();
  return shapes;
}

describe('inferEnatConfig', () => {
  it('reads every size from the shapes', () => {
    const shapes = shapesOf();
    expect(inferEnatConfig(shapes, { encoderDepth: 3, numHeads: 4 }, 'x')).toEqual(config);
    expect(inferEnatConfig(shapes, { decoderDepth: 1, numHeads: 4 }, 'x')).toEqual(config);
  });

  it('says what cannot be read from them', () => {
    const shapes = shapesOf();
    expect(() => inferEnatConfig(shapes, {}, 'w.pth')).toThrow(/w\.pth has 4 blocks of width 12.*--num-heads/);
    expect(() => inferEnatConfig(shapes, { encoderDepth: 3, decoderDepth: 2, numHeads: 4 }, 'w.pth')).toThrow(
      'w.pth has 4 blocks, expected 3 + 2',
    );
    expect(() => inferEnatConfig(shapes, { encoderDepth: 3, numHeads: 5 }, 'w.pth')).toThrow(/multiple of numHeads/);
  });

  it('refuses other models', () => {
    expect(() => inferEnatConfig(new Map([['a', [1]]]), { encoderDepth: 1, numHeads: 1 }, 'w.pth')).toThrow(
      /w\.pth is no ENAT: expected a matrix x_embedder\.position_embeddings\.weight, got no such tensor/,
    );
    const shapes = shapesOf().set('x_embedder.position_embeddings.weight', [10, 12]);
    expect(() => inferEnatConfig(shapes, { encoderDepth: 3, numHeads: 4 }, 'w.pth')).toThrow(/square grid, got 10/);
  });
});
