/**
 * The generation of a batch of labelled images by a model of any kind: masked models step as their strategy says,
 * autoregressive ones a row of the grid at a time.
 */

import { isAutoregressive, type SamplingSettings } from '@tessera/schedule';
import { type Tensor, tensor } from '@tessera/torch';
import type { AutoregressiveModel, GeneratorModel } from '../models/family.ts';
import { AutoregressiveGeneration, philoxTokenNoise } from './autoregressive-generation.ts';
import { PipelineError } from './events.ts';
import { MaskedGeneration } from './masked-generation.ts';
import { philoxNoise } from './noise-source.ts';
import type { TokenGeneration } from './token-generation.ts';

export interface StartOptions {
  strategy: SamplingSettings;
  /** Class of each image. */
  labels: readonly number[];
  seed: number;
  /** Index of the first image in the whole run. */
  first: number;
  /** Told before each step where tokens are not known yet: 1 there, [B][L]. */
  onStep?: ((unknown: Uint8Array[]) => void) | undefined;
}

export function startGeneration(model: GeneratorModel, options: StartOptions): TokenGeneration {
  const { strategy, labels, seed, first, onStep } = options;
  if (model.generation === 'autoregressive') {
    if (!isAutoregressive(strategy)) throw wrongKind(model, 'settings of autoregressive sampling', 'a strategy');
    return new RowByRow(model, options);
  }
  if (isAutoregressive(strategy)) throw wrongKind(model, 'a strategy', 'settings of autoregressive sampling');
  const noise = philoxNoise(
    seed,
    labels.map((_, i) => first + i),
  );
  return new MaskedGeneration(model, {
    strategy,
    labels,
    noise,
    observe: ({ input }) => onStep?.(maskRows(input.tokens, model.maskToken)),
  });
}

/** All tokens of labelled images: [B, L] int64, owned by the caller's scope. */
export function generateLabelled(model: GeneratorModel, options: StartOptions): Tensor {
  const generation = startGeneration(model, options);
  try {
    let tokens = generation.step();
    while (!generation.isDone) {
      tokens.dispose();
      tokens = generation.step();
    }
    return tokens;
  } finally {
    generation.dispose();
  }
}

/** An autoregressive generation whose steps are rows of the grid. */
class RowByRow implements TokenGeneration {
  readonly numSteps: number;
  stepsDone = 0;
  private readonly generation: AutoregressiveGeneration;
  private readonly options: StartOptions;

  constructor(model: AutoregressiveModel, options: StartOptions) {
    const { labels, seed, first, strategy } = options;
    if (!isAutoregressive(strategy)) throw new TypeError('RowByRow: expected autoregressive settings');
    this.numSteps = model.config.gridSize;
    this.options = options;
    this.generation = new AutoregressiveGeneration(model, {
      settings: strategy,
      noise: philoxTokenNoise(seed),
      images: labels.map((_, i) => first + i),
      condition: (images, guided) => {
        const wanted = images.map((image) => labels[image - first]!);
        return model.conditionOn(tensor(wanted, 'int64').to(model.device as 'cpu'), guided);
      },
      slots: labels.length,
    });
  }

  get isDone(): boolean {
    return this.stepsDone === this.numSteps;
  }

  get cacheBytes(): number {
    return this.generation.cacheBytes;
  }

  step(): Tensor {
    const { numSteps, stepsDone } = this;
    const { labels, onStep } = this.options;
    const known = stepsDone * numSteps;
    onStep?.(labels.map(() => Uint8Array.from({ length: numSteps * numSteps }, (_, i) => (i < known ? 0 : 1))));
    for (let column = 0; column < numSteps; column++) {
      for (const { tokens } of this.generation.step()) tokens.dispose();
    }
    this.stepsDone += 1;
    return this.generation.snapshot();
  }

  dispose(): void {
    this.generation.dispose();
  }
}

function wrongKind(model: GeneratorModel, expected: string, got: string): PipelineError {
  return new PipelineError('OPTIONS', `A model of the family ${model.family} is sampled with ${expected}, got ${got}.`);
}

function maskRows(tokens: Tensor, maskToken: number): Uint8Array[] {
  const flags = tokens.eq(maskToken).to('uint8');
  const bytes = new Uint8Array(flags.toBytes());
  const [rows, length] = tokens.shape as [number, number];
  return Array.from({ length: rows }, (_, row) => bytes.slice(row * length, (row + 1) * length));
}
