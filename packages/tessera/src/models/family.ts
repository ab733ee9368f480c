/**
 * What a model family is to the rest of the house. A family is a folder's worth of its own files (network, session,
 * recipe), a row in registry.ts and, where none fits yet, a sampler; pipelines know it only by these interfaces.
 *
 * A family's model says how it generates, and pipelines branch on that: `masked` models fill in mask tokens in any order
 * and are driven by the masked sampler; `autoregressive` ones give token after token. Another kind is another member of
 * `GeneratorModel`, with a sampler of its own.
 */

import type { Draws } from '@tessera/schedule';
import { scope, type Tensor } from '@tessera/torch';
import type { z } from 'zod';
import type { Module, ParameterBuilder } from '../nn/module.ts';

/** Sizes that every family's configuration has. */
export interface GeneratorConfig {
  /** Side of the token grid; L = gridSize². */
  gridSize: number;
  /** V. */
  codebookSize: number;
  /** Classes without the null label, which is `numClasses`. */
  numClasses: number;
}

/** What networks of all families have in common. */
interface ModelOfAnyKind extends Module {
  /** Its row in the registry. */
  readonly family: string;
  readonly config: GeneratorConfig;
  /** L. */
  readonly seqLen: number;
  readonly nullLabel: number;
}

/** A network that predicts mask tokens. */
export interface MaskedModel extends ModelOfAnyKind {
  readonly generation: 'masked';
  /** The id that stands for "not known yet". */
  readonly maskToken: number;
  /** Whether the samples of a batch may have different numbers of mask tokens. */
  readonly takesRaggedMasks: boolean;
  /** The blocks multiply in int8 from now on, for inference; false where this machine's libtorch cannot. */
  useInt8(): boolean;
  /**
   * @param labels [B] int64
   * @param guided whether any step will ask for the unconditional branch
   */
  startSession(labels: Tensor, guided: boolean): MaskedSession;
}

/** A network that predicts the next token from those before it. */
export interface AutoregressiveModel extends ModelOfAnyKind {
  readonly generation: 'autoregressive';
  /**
   * @param labels [B] int64
   * @param guided the unconditional rows follow: [2B, …]
   */
  conditionOn(labels: Tensor, guided: boolean): SequenceCondition;
  startSession(options: { rows: number; maxTokens?: number | undefined }): AutoregressiveSession;
}

/** What stands in front of the tokens. */
export interface SequenceCondition {
  /** [B, T, D]. */
  embedded: Tensor;
  /** Which of its positions count, [B, T] bool; undefined: all. */
  visible: Tensor | undefined;
}

/** An autoregressive model over one generation: rows side by side, each with what it has seen so far. */
export interface AutoregressiveSession {
  /** Bytes of what is kept of earlier positions. */
  readonly cacheBytes: number;
  /** Positions that a row can hold. */
  readonly capacity: number;
  /** How many positions a step attends to whose longest row has `longest`: at least those, in few different numbers. */
  reach(longest: number): number;
  /** Begins rows anew; returns logits of their first token, [r, V], in the caller's scope. */
  begin(rows: readonly number[], condition: SequenceCondition): Tensor;
  /** tokens — [count] int64, the last of each of the first rows; returns logits of the next, [count, V]. */
  step(tokens: Tensor, count?: number): Tensor;
  /**
   * The same with the position of each row in a tensor, [count] int64 on the device, so that nothing depends on values of
   * the host but `longest`, how many positions may be attended to. Rows then count as one further only by `advance`.
   */
  stepAt(tokens: Tensor, positions: Tensor, longest: number): Tensor;
  /** The first rows have come one position further. */
  advance(count: number): void;
  /** Position that a row's next token goes to; -1 for a parked row. */
  position(row: number): number;
  /** A row that draws nothing: it runs along, and what comes out means nothing until it is begun anew. */
  park(row: number): void;
  dispose(): void;
}

/** A network of any family, told apart by `generation`. */
export type GeneratorModel = MaskedModel | AutoregressiveModel;
export type GenerationKind = GeneratorModel['generation'];

/** Tokens of a step. */
export interface SessionTokens {
  /** [B, L] int64, the mask token at masked positions. */
  tokens: Tensor;
  /** Positions to predict: [B, M] int64; every masked one, and where masks are ragged a few visible ones as filling. */
  masked: Tensor;
  /** Positions revealed since the last prediction, at first all visible ones: [B, F] int64; undefined for none. */
  fresh: Tensor | undefined;
  /** Whether every position of every image is masked, so that a row is told by its class. */
  blank?: boolean;
}

export interface SessionPrediction {
  /** Logits of the masked positions: [B, M, V]. */
  cond: Tensor;
  /** The same for the null label, where guidance was asked for. */
  uncond: Tensor | undefined;
}

/** A masked model over the steps of one generation: holds what its steps share, such as reused features. */
export interface MaskedSession {
  /**
   * Predicts the masked tokens. The result belongs to the caller's scope, what is carried on to the session.
   *
   * @param guidance `now`: the unconditional logits are wanted; `later`: only what a coming step needs of them is;
   *   `done`: no coming step wants them
   */
  predict(input: SessionTokens, guidance: 'now' | 'later' | 'done'): SessionPrediction;
  dispose(): void;
}

/** A shard of training data with its random numbers. */
export interface TrainingBatch {
  /** [B, L] int64. */
  tokens: Tensor;
  /** [B] int64. */
  labels: Tensor;
  /** Optimizer step from 0, for recipes that change over time. */
  step: number;
  /** Random numbers of (seed, step, shard) for one purpose, see DrawPurpose. */
  draws(purpose: number): Draws;
  /** Runs the blocks so that their activations are made again in the backward pass. */
  runBlock?: RunBlock | undefined;
}

/** How a block of a network is run: at once, or so that it can be run again. */
export type RunBlock = (block: (...inputs: Tensor[]) => Tensor, ...inputs: Tensor[]) => Tensor;

/** At once; what it makes on the way is freed when it is done, unless autograd needs it. */
export const runAtOnce: RunBlock = (block, ...inputs) => scope(() => block(...inputs));

export interface TrainingLoss {
  /** Scalar, with a graph behind it. */
  loss: Tensor;
  /** Scalars to log beside it. */
  metrics: Record<string, Tensor | number>;
}

/** Rows for a measurement. */
export interface MeasuredBatch {
  tokens: Tensor;
  labels: Tensor;
  /** Which rows of the data they are, so that a row is measured the same way in any batch. */
  indices: readonly number[];
  /** Runs the blocks, for families with `blockOf`. */
  runBlock?: RunBlock | undefined;
}

/** Fields that the shapes of a checkpoint do not tell. */
export interface GivenFields {
  encoderDepth?: number | undefined;
  decoderDepth?: number | undefined;
  numHeads?: number | undefined;
  /** For weights that hold no positions. */
  gridSize?: number | undefined;
}

/** Tokens of one sample in a step of a masked model. */
export interface StepSizes {
  masked: number;
  /** Visible and not seen before. */
  fresh: number;
  /** Visible and seen before. */
  reused: number;
}

/** Multiply-accumulates of a step, of one sample and one branch. */
export interface StepMacs {
  /** In the released code. */
  reference: number;
  /** Here. */
  computed: number;
  /** The part of `computed` that later steps build on. */
  state: number;
}

/** A training pass of one image whose cells are patchSide × patchSide tokens (next-patch prediction). */
export interface LevelCost {
  patchSide: number;
  /** Positions of an image. */
  positions: number;
  /** Multiply-accumulates of a forward pass of one image. */
  macs: number;
}

export interface PatchCosts {
  /** Fine to coarse. */
  levels: LevelCost[];
  /** Runs in stages: their positions and multiply-accumulates as shares of a plain run's. */
  schedules: { patchLevel: number; epochRate: number; positions: number; macs: number }[];
}

export type Shapes = ReadonlyMap<string, readonly number[]>;

/**
 * A row of the registry. Methods, not functions in fields: each family writes them with its own types, and the registry
 * sees to it that a family's methods meet only its own values.
 */
export interface Family {
  readonly generation: GenerationKind;
  readonly schema: z.ZodType<GeneratorConfig>;
  construct(config: GeneratorConfig, p: ParameterBuilder): GeneratorModel;
  /** Whether tensors of these names are this family's. */
  recognises(shapes: Shapes): boolean;
  /** The configuration of a checkpoint that comes as weights alone; `where` names it in errors. */
  inferConfig(shapes: Shapes, given: GivenFields, where: string): GeneratorConfig;
  /** Settings of its training. */
  readonly recipe: z.ZodType<object>;
  /** Refuses a recipe that does not fit the model, before the first step. */
  checkRecipe?(model: GeneratorModel, recipe: object): void;
  /** The loss of a shard. `ema`: the moving average, for families that learn from it. */
  trainingLoss(model: GeneratorModel, ema: GeneratorModel, batch: TrainingBatch, recipe: object): TrainingLoss;
  /** Whether its blocks draw dropout from libtorch's generator: run again, they must draw the same. */
  readonly dropsInBlocks?: boolean;
  /**
   * The block that a parameter belongs to, in the order in which `runBlock` is given them; undefined for those outside.
   * Families that say so can be trained with a piece of every parameter on each rank: they run all blocks by `runBlock`, in
   * training and measurement, each once.
   */
  blockOf?(parameter: string): number | undefined;
  /** Means over held-out rows, such as `loss` and `accuracy`; runs without gradients, inside a scope. */
  measure(model: GeneratorModel, batch: MeasuredBatch): Record<string, number>;
  /** What a step costs; families of other kinds may leave it out. */
  stepMacs?(config: GeneratorConfig, sizes: StepSizes): StepMacs;
  /** What a generation costs once, of one sample and one branch. */
  setupMacs?(config: GeneratorConfig): number;
  /** What training costs on cells of tokens, for families that can. */
  patchCosts?(config: GeneratorConfig): PatchCosts;
}
