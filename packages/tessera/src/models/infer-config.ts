/**
 * The configuration of a network from the shapes of its tensors, for checkpoints that come as weights alone. Shapes tell
 * sizes; they do not tell where ENAT's encoder ends, nor the number of heads: those are given.
 */

import { parseConfig } from '@tessera/schedule';
import { StateDictError } from '../nn/state-dict.ts';
import { type AutoNatConfig, autonatConfigSchema } from './autonat.ts';
import { type EnatConfig, enatConfigSchema } from './enat.ts';
import type { GivenFields, Shapes } from './family.ts';

export function recognisesAutonat(shapes: Shapes): boolean {
  return shapes.has('token_emb.word_embeddings.weight') && shapes.has('mid_block.attn.qkv.weight');
}

export function recognisesEnat(shapes: Shapes): boolean {
  return shapes.has('x_embedder.word_embeddings.weight');
}

/**
 * @param shapes of all tensors by name
 * @param where names the checkpoint in errors
 */
export function inferAutonatConfig(shapes: Shapes, { numHeads }: GivenFields, where: string): AutoNatConfig {
  const matrixOf = (name: string) => matrix(shapes, name, `${where} is no AutoNAT`);
  const [positions, embedDim] = matrixOf('token_emb.position_embeddings.weight');
  const [words] = matrixOf('token_emb.word_embeddings.weight');
  const [labels] = matrixOf('context_embed.word_embeddings.weight');
  const [hidden] = matrixOf('mid_block.mlp.fc1.weight');
  const depth = 2 * count(shapes, (i) => `in_blocks.${i}.attn.qkv.weight`);
  if (numHeads === undefined) {
    throw new StateDictError(
      `${where} has ${depth + 1} blocks of width ${embedDim}; its shapes do not tell the number of heads: ` +
        'give numHeads, or a preset that has it',
    );
  }
  const sizes = { gridSize: gridOf(positions, where), codebookSize: words - 1, numClasses: labels - 1 };
  const config = { ...sizes, embedDim, depth, numHeads, mlpRatio: hidden / embedDim };
  return parseConfig(autonatConfigSchema, config, where);
}

export function inferEnatConfig(shapes: Shapes, given: GivenFields, where: string): EnatConfig {
  const matrixOf = (name: string) => matrix(shapes, name, `${where} is no ENAT`);
  const [positions, embedDim] = matrixOf('x_embedder.position_embeddings.weight');
  const [words] = matrixOf('x_embedder.word_embeddings.weight');
  const [labels] = matrixOf('y_embedder.embedding_table.weight');
  const [hidden] = matrixOf('blocks.0.mlp.fc1.weight');
  const gridSize = gridOf(positions, where);
  const { numHeads } = given;
  const depth = count(shapes, (i) => `blocks.${i}.attn.q.weight`);
  const encoderDepth =
    given.encoderDepth ?? (given.decoderDepth === undefined ? undefined : depth - given.decoderDepth);
  const decoderDepth = given.decoderDepth ?? (encoderDepth === undefined ? undefined : depth - encoderDepth);
  if (encoderDepth === undefined || decoderDepth === undefined || numHeads === undefined) {
    throw new StateDictError(
      `${where} has ${depth} blocks of width ${embedDim}; its shapes do not tell how many are the encoder's, nor the number of heads: ` +
        'give the depth of the encoder or the decoder and the number of heads (--encoder-depth, --num-heads), or a preset that has them',
    );
  }
  if (encoderDepth + decoderDepth !== depth) {
    throw new StateDictError(`${where} has ${depth} blocks, expected ${encoderDepth} + ${decoderDepth}`);
  }
  const sizes = { gridSize, codebookSize: words - 1, numClasses: labels - 1 };
  const config = { ...sizes, embedDim, encoderDepth, decoderDepth, numHeads, mlpRatio: hidden / embedDim };
  return parseConfig(enatConfigSchema, config, where);
}

function matrix(shapes: Shapes, name: string, problem: string): readonly [rows: number, columns: number] {
  const shape = shapes.get(name);
  if (shape?.length === 2) return shape as [number, number];
  const got = shape === undefined ? 'no such tensor' : `[${shape.join(', ')}]`;
  throw new StateDictError(`${problem}: expected a matrix ${name}, got ${got}`);
}

function gridOf(positions: number, where: string): number {
  const gridSize = Math.round(Math.sqrt(positions));
  if (gridSize ** 2 === positions) return gridSize;
  throw new StateDictError(`${where}: expected positions of a square grid, got ${positions} position embeddings`);
}

function count(shapes: Shapes, name: (index: number) => string): number {
  let index = 0;
  while (shapes.has(name(index))) index++;
  return index;
}
