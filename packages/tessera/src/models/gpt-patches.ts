/**
 * Patches of next-patch prediction (Pang et al., arXiv 2412.15321; reference §5.1, §5.3): the token grid is cut into
 * cells of p × p tokens, cells row-major, inside a cell row-major. A cell's input is the mean of its tokens' embeddings,
 * its target all of its tokens at once. With p = 1 both are plain next-token prediction.
 */

import type { Tensor } from '@tessera/torch';

/** One message for everything that needs a patch side that divides the grid. */
export class PatchError extends Error {
  readonly code = 'PATCH';

  constructor(message: string) {
    super(message);
    this.name = 'PatchError';
  }
}

export function checkPatchSide(gridSize: number, patchSide: number): void {
  if (!Number.isInteger(patchSide) || patchSide < 1 || gridSize % patchSide !== 0) {
    throw new PatchError(
      `Expected a patch side that divides the ${gridSize}x${gridSize} grid, got ${patchSide}: choose fewer patch levels or another grid.`,
    );
  }
}

/** tokens — [B, n] of a square grid; returns [B, n / p², p²]: the tokens of each cell. */
export function tokenCells(tokens: Tensor, gridSize: number, patchSide: number): Tensor {
  checkPatchSide(gridSize, patchSide);
  const [p, cells] = [patchSide, gridSize / patchSide];
  return tokens
    .reshape([-1, cells, p, cells, p])
    .permute([0, 1, 3, 2, 4]) // [B, cell row, cell column, row inside, column inside]
    .reshape([tokens.size(0), cells * cells, p * p]);
}

/** embeddings — [B, n, D] of a square grid; returns [B, n / p², D]: the mean of each cell. */
export function averageCells(embeddings: Tensor, gridSize: number, patchSide: number): Tensor {
  checkPatchSide(gridSize, patchSide);
  if (patchSide === 1) return embeddings;
  const [p, cells, dim] = [patchSide, gridSize / patchSide, embeddings.size(2)];
  return embeddings
    .reshape([-1, cells, p, cells, p, dim])
    .mean([2, 4]) // [B, cell row, cell column, D]
    .flatten(1, 2);
}
