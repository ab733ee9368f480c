/**
 * The generation of a batch of labelled images by a model of any kind: masked models step as their strategy says,
 * autoregressive ones a row of the grid at a time.
 */

import { isAutoregressive, type SamplingSettings } from '@tessera/schedule';
import { type Tensor, tensor } from '@tessera/torch';
import type { AutoregressiveModel, GeneratorModel, MaskedModel } from '../models/family.ts';
import { graphsByDefault } from '../nn/replay.ts';
import { AutoregressiveGeneration, philoxTokenNoise } from './autoregressive-generation.ts';
import { PipelineError } from './events.ts';
import { type GenerationOptions, generateTokens, MaskedGeneration, type StepRecord } from './masked-generation.ts';
import { generateByGraph } from './masked-graph.ts';
import { philoxNoise } from './noise-source.ts';
import type { Openings } from './openings.ts';
import type { TokenGeneration } from './token-generation.ts';

export interface StartOptions {
  strategy: SamplingSettings;
  /** Class of each image. */
  labels: readonly number[];
  seed: number;
  /** Index of the first image in the whole run. */
  first: number;
  /** Indices of all, where they do not follow one another. */
  images?: readonly number[] | undefined;
  /** Told before each step where tokens are not known yet: 1 there, [B][L]. */
  onStep?: ((unknown: Uint8Array[]) => void) | undefined;
  /** Of a masked model and its weights. */
  openings?: Openings | undefined;
  /** Records what is drawn with the same shapes as a CUDA graph; default: on GPUs, unless TESSERA_CUDA_GRAPHS=0. */
  graphs?: boolean | undefined;
}

export function startGeneration(model: GeneratorModel, options: StartOptions): TokenGeneration {
  const { strategy, labels, seed, first, onStep, openings } = options;
  if (model.generation === 'autoregressive') {
    if (!isAutoregressive(strategy)) throw wrongKind(model, 'settings of autoregressive sampling', 'a strategy');
    return new RowByRow(model, options);
  }
  if (isAutoregressive(strategy)) throw wrongKind(model, 'a strategy', 'settings of autoregressive sampling');
  const { images = labels.map((_, i) => first + i) } = options;
  const { graphs = graphsByDefault(model.device) } = options;
  if (graphs && onStep === undefined) {
    const tokens = generateByGraph(model, { strategy, labels, seed, images, openings });
    if (tokens !== undefined) return new AtOnce(tokens);
  }
  const common = { strategy, labels, noise: philoxNoise(seed, images), opening: openings?.of(labels) };
  if (onStep === undefined) {
    return model.device === 'cpu' ? new MaskedGeneration(model, common) : new TiesLater(model, common);
  }
  const observe = ({ input }: StepRecord): void => onStep(maskRows(input.tokens, model.maskToken));
  return new MaskedGeneration(model, { ...common, observe });
}

/** On a GPU no step looks for ties; where there were some, the last one draws the batch again with them. */
class TiesLater extends MaskedGeneration {
  private readonly again: () => Tensor;

  constructor(model: MaskedModel, options: GenerationOptions) {
    super(model, { ...options, ties: 'report' });
    this.again = () => generateTokens(model, options);
  }

  override step(): Tensor {
    const tokens = super.step();
    if (!this.isDone || this.hadTies === undefined || this.hadTies.item() === 0) return tokens;
    tokens.dispose();
    return this.again();
  }
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

/** A generation that is there already. */
class AtOnce implements TokenGeneration {
  readonly numSteps = 1;
  stepsDone = 0;
  private readonly tokens: Tensor;

  constructor(tokens: Tensor) {
    this.tokens = tokens;
  }

  get isDone(): boolean {
    return this.stepsDone === 1;
  }

  step(): Tensor {
    this.stepsDone = 1;
    return this.tokens.detach();
  }

  dispose(): void {
    this.tokens.dispose();
  }
}

/** An autoregressive generation whose steps are rows of the grid. */
class RowByRow implements TokenGeneration {
  readonly numSteps: number;
  stepsDone = 0;
  private readonly generation: AutoregressiveGeneration;
  private readonly options: StartOptions;

  constructor(model: AutoregressiveModel, options: StartOptions) {
    const { labels, seed, first, strategy, images = labels.map((_, i) => first + i) } = options;
    const labelOf = new Map(images.map((image, i) => [image, labels[i]!]));
    if (!isAutoregressive(strategy)) throw new TypeError('RowByRow: expected autoregressive settings');
    this.numSteps = model.config.gridSize;
    this.options = options;
    this.generation = new AutoregressiveGeneration(model, {
      settings: strategy,
      noise: philoxTokenNoise(seed),
      images,
      condition: (some, guided) => {
        const wanted = some.map((image) => labelOf.get(image)!);
        return model.conditionOn(tensor(wanted, 'int64'), guided);
      },
      slots: labels.length,
      graphs: options.graphs,
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
