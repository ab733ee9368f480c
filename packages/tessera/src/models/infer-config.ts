/**
 * The configuration of an ENAT from the shapes of its tensors, for checkpoints that come as weights alone. Shapes tell
 * sizes; they do not tell where the encoder ends, nor the number of heads: those are given.
 */

import { parseConfig } from '@tessera/schedule';
import { StateDictError } from '../nn/state-dict.ts';
import { type EnatConfig, enatConfigSchema } from './enat.ts';
import type { GivenFields, Shapes } from './family.ts';

export function recognisesEnat(shapes: Shapes): boolean {
  return shapes.has('x_embedder.word_embeddings.weight');
}

/**
 * @param shapes of all tensors by name
 * @param where names the checkpoint in errors
 */
export function inferEnatConfig(shapes: Shapes, given: GivenFields, where: string): EnatConfig {
  const [positions, embedDim] = matrix(shapes, 'x_embedder.position_embeddings.weight', where);
  const [words] = matrix(shapes, 'x_embedder.word_embeddings.weight', where);
  const [labels] = matrix(shapes, 'y_embedder.embedding_table.weight', where);
  const [hidden] = matrix(shapes, 'blocks.0.mlp.fc1.weight', where);
  const gridSize = Math.round(Math.sqrt(positions));
  if (gridSize ** 2 !== positions) {
    throw new StateDictError(`${where}: expected positions of a square grid, got ${positions} position embeddings`);
  }
  const { numHeads } = given;
  const depth = countBlocks(shapes);
  const encoderDepth =
    given.encoderDepth ?? (given.decoderDepth === undefined ? undefined : depth - given.decoderDepth);
  const decoderDepth = given.decoderDepth ?? (encoderDepth === undefined ? undefined : depth - encoderDepth);
  if (encoderDepth === undefined || decoderDepth === undefined || numHeads === undefined) {
    throw new StateDictError(
      `${where} has ${depth} blocks of width ${embedDim}; its shapes do not tell how many are the encoder's, nor the number of heads: ` +
        'give encoderDepth (or decoderDepth) and numHeads, or a preset that has them',
    );
  }
  if (encoderDepth + decoderDepth !== depth) {
    throw new StateDictError(`${where} has ${depth} blocks, expected ${encoderDepth} + ${decoderDepth}`);
  }
  return parseConfig(
    enatConfigSchema,
    {
      gridSize,
      codebookSize: words - 1,
      numClasses: labels - 1,
      embedDim,
      encoderDepth,
      decoderDepth,
      numHeads,
      mlpRatio: hidden / embedDim,
    },
    where,
  );
}

function matrix(shapes: Shapes, name: string, where: string): readonly [rows: number, columns: number] {
  const shape = shapes.get(name);
  if (shape?.length === 2) return shape as [number, number];
  const got = shape === undefined ? 'no such tensor' : `[${shape.join(', ')}]`;
  throw new StateDictError(`${where} is no ENAT: expected a matrix ${name}, got ${got}`);
}

function countBlocks(shapes: Shapes): number {
  let count = 0;
  while (shapes.has(`blocks.${count}.attn.q.weight`)) count++;
  return count;
}
