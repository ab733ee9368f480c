/**
 * The configuration of a GPT from the shapes of its tensors. Shapes tell widths and depths; the number of heads and the
 * grid are in no tensor (positions are computed), so they are given.
 */

import { parseConfig } from '@tessera/schedule';
import { StateDictError } from '../nn/state-dict.ts';
import type { GivenFields, Shapes } from './family.ts';
import { type GptConfig, gptConfigSchema } from './gpt-config.ts';

export function recognisesGpt(shapes: Shapes): boolean {
  return shapes.has('tok_embeddings.weight') && shapes.has('layers.0.attention.wqkv.weight');
}

/**
 * @param shapes of all tensors by name
 * @param where names the checkpoint in errors
 */
export function inferGptConfig(shapes: Shapes, { numHeads, gridSize }: GivenFields, where: string): GptConfig {
  const matrix = (name: string): readonly [number, number] => {
    const shape = shapes.get(name);
    if (shape?.length === 2) return shape as unknown as [number, number];
    const got = shape === undefined ? 'no such tensor' : `[${shape.join(', ')}]`;
    throw new StateDictError(`${where} is no GPT: expected a matrix ${name}, got ${got}`);
  };
  const [codebookSize, embedDim] = matrix('tok_embeddings.weight');
  const [projected] = matrix('layers.0.attention.wqkv.weight');
  const [hidden] = matrix('layers.0.feed_forward.w1.weight');
  let depth = 0;
  while (shapes.has(`layers.${depth}.attention.wqkv.weight`)) depth++;
  if (numHeads === undefined || gridSize === undefined) {
    throw new StateDictError(
      `${where} has ${depth} blocks of width ${embedDim}; its shapes do not tell the number of heads nor the grid: ` +
        'give the number of heads and the size (--num-heads, --size), or a preset that has them',
    );
  }
  const headDim = embedDim / numHeads;
  const table = shapes.get('cls_embedding.embedding_table.weight');
  const features = shapes.get('cls_embedding.uncond_embedding');
  const condition =
    table === undefined && features !== undefined
      ? { numClasses: 1, caption: { numTokens: features[0]!, dim: features[1]! } }
      : { numClasses: matrix('cls_embedding.embedding_table.weight')[0] - 1 };
  const config = {
    ...condition,
    gridSize,
    codebookSize,
    embedDim,
    depth,
    numHeads,
    numKvHeads: (projected / headDim - numHeads) / 2,
    ffnMultipleOf: multipleOf(embedDim, hidden),
  };
  return parseConfig(gptConfigSchema, config, where);
}

/** 256 where that gives the hidden width, else the width itself. */
function multipleOf(embedDim: number, hidden: number): number {
  return Math.ceil(Math.floor((8 * embedDim) / 3) / 256) * 256 === hidden ? 256 : hidden;
}
