export { applySteps, type CropStep, centerCrop, centerCropSteps } from './data/center-crop.ts';
export {
  type AnimationOptions,
  animatedGif,
  animatedWebp,
  encodePng,
  type GridOptions,
  gridImage,
  gridPng,
} from './data/contact-sheet.ts';
export {
  fiveCropOffsets,
  mirror,
  type RandomCropOptions,
  randomCrop,
  tenCrop,
  tenCropSide,
} from './data/crops.ts';
export { DataError, type DataErrorCode } from './data/data-error.ts';
export { emojiClassNames } from './data/emoji/classes.ts';
export type { IconSetInfo } from './data/emoji/icon-sets.ts';
export { type EmojiSummary, type RenderEmojiOptions, renderEmoji } from './data/emoji/render-emoji.ts';
export { type DecodeOptions, decodeImage, type RgbImage } from './data/image.ts';
export {
  byteOrder,
  type ImageFolder,
  type ImageItem,
  openImageFolder,
  type ScanOptions,
  type SplitFolder,
  scanImageFolder,
  splitHeldOut,
} from './data/image-folder.ts';
export { ImagePool, type PoolOptions, type PreparedImage, type PrepareOptions } from './data/image-pool.ts';
export { openImageSource, type SourceOptions } from './data/image-source.ts';
export { resizeBicubic, toLevels } from './data/output-pixels.ts';
export {
  type LabelledPixels,
  PictureSet,
  type PictureSetOptions,
  type PictureSource,
  type Visit,
} from './data/picture-set.ts';
export { type ResizeFilter, resizeImage } from './data/resize.ts';
export {
  TokenDataset,
  type TokenDatasetDescription,
  TokenDatasetWriter,
  type TokenRows,
} from './data/token-dataset.ts';
export { LlamaGenTokens, LlamaGenWriter } from './data/tokens/llamagen-tree.ts';
export { MixedTokens, type MixOptions } from './data/tokens/mixed-tokens.ts';
export { NAT_BATCH, NatNpyTokens, NatNpyWriter, natRow } from './data/tokens/nat-npy.ts';
export {
  type NeededTokens,
  type OpenedTokens,
  type OpenTokensOptions,
  openStoredTokens,
  openTokens,
  requireTokens,
} from './data/tokens/open-tokens.ts';
export { StoredTokens, type TokensToWrite, type TokenWriter } from './data/tokens/token-rows.ts';
export { type ImageRecipe, imageVariants, recipeSchema, variantsPerImage } from './data/variants.ts';
// Metrics.
export { bootstrapInterval, bootstrapRows, type Interval, intervalAround, intervalOf } from './metrics/bootstrap.ts';
export { ClassJudge, type JudgeQuality, trainClassJudge } from './metrics/class-judge.ts';
export { CodebookCounter, type CodebookUsage } from './metrics/codebook-usage.ts';
export type { FeatureExtractor } from './metrics/feature-extractor.ts';
export {
  type FeatureStatistics,
  RunningStatistics,
  type StatisticsPrecision,
  statisticsOf,
} from './metrics/feature-statistics.ts';
export { frechetDistance } from './metrics/frechet.ts';
export { frechetDistanceOfRows, resamplesWithin } from './metrics/frechet-resampling.ts';
export {
  type InceptionFeatures,
  type InceptionInput,
  InceptionV3,
  inceptionInput,
  loadInception,
} from './metrics/inception.ts';
export {
  equalSplits,
  type InceptionScore,
  type InceptionScoreConvention,
  inceptionScore,
  inceptionScoreOfSplits,
  type SplitRange,
  splitsOfSize,
} from './metrics/inception-score.ts';
export { type KidResult, kernelDistance } from './metrics/kid.ts';
export { LocalExtractor, loadLocalExtractor } from './metrics/local-extractor.ts';
export {
  type DistancePrecision,
  type ManifoldMetrics,
  manifoldMetrics,
  manifoldRadii,
  nearestNeighbours,
  squaredDistances,
} from './metrics/manifold.ts';
export { type Memorisation, memorisation, type NearestDistances } from './metrics/memorisation.ts';
export { MetricError, type MetricErrorCode } from './metrics/metric-error.ts';
export { psnr, ssim } from './metrics/picture-quality.ts';
export {
  AutoNat,
  type AutoNatConfig,
  type AutoNatInput,
  autonatConfigSchema,
} from './models/autonat.ts';
export {
  type AutoNatLossInput,
  type AutoNatRecipe,
  autonatLoss,
  autonatRecipeSchema,
} from './models/autonat-recipe.ts';
export { AutoNatSession } from './models/autonat-session.ts';
export {
  Enat,
  type EnatConfig,
  type EnatInput,
  type EnatOutput,
  type EnatState,
  enatConfigSchema,
} from './models/enat.ts';
export { type EnatLossInput, type EnatLossOutput, enatLoss } from './models/enat-loss.ts';
export { type EnatRecipe, enatRecipeSchema } from './models/enat-recipe.ts';
export { type EnatPrediction, EnatSession } from './models/enat-session.ts';
export type {
  AutoregressiveModel,
  AutoregressiveSession,
  Family,
  GenerationKind,
  GeneratorConfig,
  GeneratorModel,
  GivenFields,
  LevelCost,
  MaskedModel,
  MaskedSession,
  MeasuredBatch,
  PatchCosts,
  SequenceCondition,
  SessionPrediction,
  SessionTokens,
  TrainingBatch,
  TrainingLoss,
} from './models/family.ts';
// The autoregressive family.
export { dropPath, Gpt, type GptInput, type GptProbe } from './models/gpt.ts';
export { ConditionError, captionCondition, classCondition, dropConditions } from './models/gpt-condition.ts';
export { type GptConfig, type GptConfigInput, type GptSizes, gptConfigSchema, gptSizes } from './models/gpt-config.ts';
export { costShare, gptPatchCosts, levelCost, levelCosts } from './models/gpt-cost.ts';
export { cellLoss, type GptLossInput, type GptLossOutput, gptLoss } from './models/gpt-loss.ts';
export { averageCells, PatchError, tokenCells } from './models/gpt-patches.ts';
export { type GptRecipe, gptRecipeSchema } from './models/gpt-recipe.ts';
export { applyRope, gridCoordinates, type RopeTable, ropeAngles, ropeRows, ropeTableOf } from './models/gpt-rope.ts';
export { conditionMask, GptSession, type GptSessionOptions } from './models/gpt-session.ts';
export { inferAutonatConfig, inferEnatConfig } from './models/infer-config.ts';
export { type ParameterShapes, parameterShapes } from './models/parameter-shapes.ts';
export { enatPreset, type ModelPreset, modelPreset, modelPresetNames } from './models/presets.ts';
export { FAMILIES, type FamilyName, familyNames, familyOf, recogniseFamily } from './models/registry.ts';
export { AdamW, type AdamWOptions } from './nn/adamw.ts';
export { beside, DeviceError, networkDevice, useDevice } from './nn/device.ts';
export { Ema } from './nn/ema.ts';
export { clipByNorm, globalNorm, gradientsOf } from './nn/gradients.ts';
export { type Initialisation, initialTensor } from './nn/initialisation.ts';
export { initialise, Module, ParameterBuilder, type ParameterSource } from './nn/module.ts';
export { loadModule, StateDictError } from './nn/state-dict.ts';
export {
  AutoregressiveGeneration,
  type AutoregressiveOptions,
  type FinishedImage,
  type PickRecord,
  philoxTokenNoise,
  type TokenNoise,
} from './pipelines/autoregressive-generation.ts';
export { chooseStrategy, type StrategyChoice } from './pipelines/choose-strategy.ts';
export { type ConvertOptions, convertTokens } from './pipelines/convert-tokens.ts';
export { decodeTokens, imageBatch } from './pipelines/decode-tokens.ts';
export { type EditOptions, edit } from './pipelines/edit.ts';
export { PROTOCOLS, type Protocol, type ProtocolName, protocolNames } from './pipelines/evaluate/protocols.ts';
export { type EvaluateOptions, type EvaluationResult, evaluate, type Sweep } from './pipelines/evaluate.ts';
export { PipelineError, type PipelineEvent } from './pipelines/events.ts';
export { type ExportOptions, exportCheckpoint } from './pipelines/export-checkpoint.ts';
export { type FetchOptions, fetchFiles } from './pipelines/fetch.ts';
export { type FitImages, loadFitImages } from './pipelines/fit/images.ts';
export { type FitOptions, fit } from './pipelines/fit.ts';
export { type ImportOptions, importCheckpoint } from './pipelines/import-checkpoint.ts';
export { type GenerationCost, generationCost, maskgitDecoderMacs } from './pipelines/inspect/generation-macs.ts';
export type { Inspection } from './pipelines/inspect/inspection.ts';
export { type InspectOptions, inspect } from './pipelines/inspect.ts';
export {
  type GenerationOptions,
  generateTokens,
  type KnownTokens,
  MaskedGeneration,
  type StepRecord,
} from './pipelines/masked-generation.ts';
export { forgetGraph } from './pipelines/masked-graph.ts';
export {
  type ModelFolder,
  type ModelToWrite,
  openAnyTokenizer,
  openModelFolder,
  openTokenizer,
  writeModelFolder,
  writeTokenizerFolder,
} from './pipelines/model-folder.ts';
export { type NoiseSource, philoxNoise } from './pipelines/noise-source.ts';
export {
  type LlamagenCheckpoint,
  llamagenFileName,
  optimizerOrder,
  writeLlamagenCheckpoint,
} from './pipelines/official/llamagen-checkpoint.ts';
export { PUBLIC_FILES, type PublicFile } from './pipelines/official/public-files.ts';
export { Openings } from './pipelines/openings.ts';
export type { Chart, Series } from './pipelines/report/chart.ts';
export {
  type ReportContent,
  type ReportImage,
  type ReportSection,
  type ReportTable,
  renderReport,
  writeReport,
} from './pipelines/report.ts';
export { runInWorker, type WorkerPipeline, type WorkerSettings } from './pipelines/run-in-worker.ts';
export { type SampleOptions, sample, sampleModel } from './pipelines/sample.ts';
export { type SampleEvaluationOptions, sampleEvaluation } from './pipelines/sample-evaluation.ts';
export { type SampleTokensOptions, sampleTokens } from './pipelines/sample-tokens.ts';
export { LocalEvaluators, ProcessEvaluators, RankEvaluators } from './pipelines/search/evaluators.ts';
export { type ObjectiveDescription, openObjective } from './pipelines/search/open-objective.ts';
export type { SearchOptions } from './pipelines/search/resolve-search.ts';
export { search } from './pipelines/search.ts';
export { type SearchTrainingOptions, searchTraining } from './pipelines/search-training.ts';
export { type SetupOptions, setup } from './pipelines/setup.ts';
export { smallModelStrategy } from './pipelines/small-model-sampling.ts';
export { generateLabelled, type StartOptions, startGeneration } from './pipelines/start-generation.ts';
export { makeStatistics, type StatisticsOptions } from './pipelines/statistics.ts';
export type { TokenGeneration } from './pipelines/token-generation.ts';
export { encodePictures } from './pipelines/tokenize/encode-share.ts';
export { LAYOUTS, type Layout } from './pipelines/tokenize/layouts.ts';
export { parseShare, shareOfRank, type WorkShare } from './pipelines/tokenize/work-share.ts';
export { type TokenizeOptions, tokenize } from './pipelines/tokenize.ts';
export { type TrainOptions, train } from './pipelines/train.ts';
export { type TrainTokenizerOptions, trainTokenizerOnImages } from './pipelines/train-tokenizer.ts';
export { filterLogits, guideLogits, pickTokens } from './sampling/autoregressive-sampler.ts';
export { drawCodes, type GuidedLogits, guide } from './sampling/draw-codes.ts';
export {
  allMasked,
  type MaskedTokens,
  maskedStep,
  partlyMasked,
  type StepNoise,
  type StepSettings,
} from './sampling/masked-sampler.ts';
export {
  AUTOREGRESSIVE_VARIABLES,
  type AutoregressiveBounds,
  autoregressiveSpace,
} from './search/autoregressive-space.ts';
export { type EvaluationRecord, Ledger } from './search/ledger.ts';
export { type MaskRatioBounds, maskRatioSpace } from './search/mask-ratio-space.ts';
export { AskTell, type Candidate, checkSpace, type Method, type Space } from './search/method.ts';
export { type CmaOptions, cmaEs } from './search/methods/cma-es.ts';
export { coordinateSearch } from './search/methods/coordinate.ts';
export {
  basePointIndex,
  type FiniteDifferenceOptions,
  finiteDifference,
} from './search/methods/finite-difference.ts';
export { successiveHalving } from './search/methods/successive-halving.ts';
export { trustRegion } from './search/methods/trust-region.ts';
export { METHOD_NAMES, type MethodName, type MethodOptions, startMethod } from './search/methods.ts';
export {
  type EvaluationPlace,
  type Objective,
  type ObjectiveValue,
  type WeightedObjective,
  weightedSum,
} from './search/objective.ts';
export { fullSchedule, type ListBounds, type Parametrisation, resolveBounds } from './search/parametrisation.ts';
export {
  bestOf,
  type EvaluationJob,
  type EvaluationOutcome,
  type Evaluators,
  runSearch,
  type SearchBudget,
  type SearchRun,
} from './search/run-search.ts';
export { csvColumns, searchCsv } from './search/search-csv.ts';
export { SearchError, type SearchErrorCode } from './search/search-error.ts';
export { type SmoothOptions, smoothSchedule } from './search/smooth-schedule.ts';
export {
  fromPoint,
  LIST_NAMES,
  type ListName,
  listsOf,
  officialLists,
  resample,
  type ScheduleLists,
  type StrategyFrame,
  searchFrame,
  strategyOf,
  toPoint,
} from './search/variables.ts';
export { type AdversarialLoss, discriminatorLoss, generatorLoss } from './tokenizers/adversarial-loss.ts';
export { Discriminator, type DiscriminatorConfig } from './tokenizers/discriminator.ts';
export { LlamaGenVq, toNetworkRange } from './tokenizers/llamagen-vq.ts';
export { Lpips, loadLpips } from './tokenizers/lpips.ts';
export {
  type MaskgitConfig,
  type MaskgitConfigInput,
  maskgitConfigSchema,
  maskgitPreset,
} from './tokenizers/maskgit-config.ts';
export { MaskgitVqgan } from './tokenizers/maskgit-vqgan.ts';
export { PatchDiscriminator } from './tokenizers/patch-discriminator.ts';
export { type Quantized, VectorQuantizer } from './tokenizers/quantizer.ts';
export { TOKENIZERS, type TokenizerFamily, type TokenizerFamilyName, tokenizerPresets } from './tokenizers/registry.ts';
export type { Probe } from './tokenizers/steps.ts';
export { StyleganBlock, StyleganDiscriminator } from './tokenizers/stylegan-discriminator.ts';
export { Tokenizer } from './tokenizers/tokenizer.ts';
export { TokenizerError, type TokenizerErrorCode } from './tokenizers/tokenizer-error.ts';
export {
  downsampleFactor,
  tokenGrid,
  type VqConfig,
  type VqConfigInput,
  type VqPreset,
  vqConfigSchema,
  vqPreset,
  vqPresetNames,
} from './tokenizers/vq-config.ts';
export { type NamedLoss, VqLoss, type VqLossConfig, type VqLossInput, vqLossSchema } from './tokenizers/vq-loss.ts';
export {
  resolveTrainingConfig,
  type TrainingConfig,
  type TrainingConfigInput,
  trainingConfigSchema,
} from './training/config.ts';
export { itemAt, type ShardPlan, shardAt, shardsPerStep } from './training/data-order.ts';
export { createGeneratorTask, type GeneratorTaskOptions } from './training/generator-task.ts';
export { type TrainingEvent, type TrainLoopOptions, trainLoop } from './training/loop.ts';
export { Ranks } from './training/ranks.ts';
export { openRun, openRunTogether, RunFolder } from './training/run-folder.ts';
export { placeholderParameters, ShardedModule } from './training/sharded-module.ts';
export { wholeFile } from './training/stored-tensors.ts';
export type { OptimizerSettings, Shard, ShardResult, TrainedPart, TrainingTask } from './training/task.ts';
export { networksOf, TrainedNetwork } from './training/trained-network.ts';
export { TrainingError, type TrainingErrorCode } from './training/training-error.ts';
export {
  createVqTask,
  type TrainingImages,
  type VqRecipe,
  type VqTask,
  type VqTaskOptions,
  vqRecipeSchema,
} from './training/vq-task.ts';
