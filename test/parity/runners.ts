/** Which runner serves which kind. */

import type { GoldenCase, GoldenFolder } from './golden-set.ts';
import type { Runner } from './runner.ts';
import { autonatForward } from './runners/autonat-forward.ts';
import { natMaskSample, natTrainLoss, natTrainSteps } from './runners/autonat-train.ts';
import { enatForward, enatReuseChain, enatReuseSameMask } from './runners/enat-forward.ts';
import { enatTrainLoss, natMaskCount } from './runners/enat-train.ts';
import {
  captionEmbed,
  captionForwardLoss,
  dropPathRunner,
  gptForwardEval,
  gptForwardLoss,
  labelEmbedder,
  nppForwardLoss,
  paramCount,
  patchify,
  ropeApply,
  ropeTable,
  ropeTable1d,
} from './runners/gpt-forward.ts';
import { captionGenerate, gptGenerate, logitFilter, logitProbs } from './runners/gpt-generate.ts';
import { gptTrainSteps, nppLearningRates, nppTrainSteps, patchSchedule } from './runners/gpt-train.ts';
import {
  bicubicResize,
  centerCropRunner,
  cropBox,
  extractCodes,
  extractTokens,
  pixelNormalize,
  pixelToUint8,
  randomCropRunner,
  tenCropOffsets,
  tenCropRunner,
} from './runners/images.ts';
import { hashImages, tokenizerStateShapes, vqCodec, vqQuantizer } from './runners/llamagen-vq.ts';
import { maskgitVqCodec, weightRule } from './runners/maskgit-vq.ts';
import {
  admFid,
  admInceptionScore,
  admManifoldRadii,
  admPairwiseDistances,
  admPrecisionRecall,
  admStatistics,
  fid,
  inceptionFeatures,
  inceptionScoreRunner,
  inceptionStateShapes,
} from './runners/metrics.ts';
import { natCheckpointResume } from './runners/nat-checkpoint.ts';
import { natGenerate, natScheduleTable } from './runners/nat-generate.ts';
import { natInitStatistics } from './runners/nat-init.ts';
import { isAutonat } from './runners/nat-model.ts';
import { searchTrajectory } from './runners/search-trajectory.ts';
import { lpips, patchgan, styleganBlock, vqLoss, vqTrainSteps } from './runners/vq-train.ts';

interface Entry {
  run: Runner;
  /** Networks that are covered, where the kind is shared. */
  networks?: readonly string[];
}

const RUNNERS: Record<string, Entry> = {
  'nat-forward': { run: (context) => (isAutonat(context) ? autonatForward(context) : enatForward(context)) },
  'nat-mask-sample': { run: natMaskSample },
  'nat-train-loss': { run: natTrainLoss, networks: ['uvit'] },
  'nat-train-steps': { run: natTrainSteps, networks: ['uvit'] },
  'enat-reuse-chain': { run: enatReuseChain },
  'enat-reuse-same-mask': { run: enatReuseSameMask },
  'enat-train-loss': { run: enatTrainLoss },
  'nat-mask-count': { run: natMaskCount },
  'nat-generate': { run: natGenerate },
  'nat-schedule-table': { run: natScheduleTable },
  'nat-search-trajectory': { run: searchTrajectory },
  'nat-init-statistics': { run: natInitStatistics },
  'vq-codec': { run: vqCodec },
  'vq-quantizer': { run: vqQuantizer },
  patchgan: { run: patchgan },
  'stylegan-block': { run: styleganBlock },
  lpips: { run: lpips },
  'vq-loss': { run: vqLoss },
  'vq-train-steps': { run: vqTrainSteps },
  'state-dict-shapes': {
    run: (context) =>
      context.golden.params.model === 'fid-inception-v3'
        ? inceptionStateShapes(context)
        : tokenizerStateShapes(context),
    networks: ['llamagen-vq', 'maskgit-vqgan'],
  },
  'inception-features': { run: inceptionFeatures },
  fid: { run: fid },
  'inception-score': { run: inceptionScoreRunner },
  'adm-statistics': { run: admStatistics },
  'adm-fid': { run: admFid },
  'adm-inception-score': { run: admInceptionScore },
  'adm-precision-recall': { run: admPrecisionRecall },
  'adm-manifold-radii': { run: admManifoldRadii },
  'adm-pairwise-distances': { run: admPairwiseDistances },
  'hash-image': { run: hashImages },
  'maskgit-vq-codec': { run: maskgitVqCodec },
  'weight-rule': { run: weightRule },
  'nat-checkpoint-resume': { run: natCheckpointResume },
  'center-crop': { run: centerCropRunner },
  'crop-box': { run: cropBox },
  'ten-crop': { run: tenCropRunner },
  'ten-crop-offsets': { run: tenCropOffsets },
  'random-crop': { run: randomCropRunner },
  'pixel-normalize': { run: pixelNormalize },
  'pixel-to-uint8': { run: pixelToUint8 },
  'bicubic-resize': { run: bicubicResize },
  'extract-codes': { run: extractCodes },
  'extract-tokens': { run: extractTokens },
  'rope-table-2d': { run: ropeTable },
  'rope-table-1d': { run: ropeTable1d },
  'npp-rope-level': { run: ropeTable },
  'rope-apply': { run: ropeApply },
  'drop-path': { run: dropPathRunner },
  'label-embedder': { run: labelEmbedder },
  'param-count': { run: paramCount },
  'npp-patchify': { run: patchify },
  'gpt-forward-loss': { run: gptForwardLoss },
  'gpt-forward-eval': { run: gptForwardEval },
  'npp-forward-loss': { run: nppForwardLoss },
  'npp-patch-schedule': { run: patchSchedule },
  'npp-lr-schedule': { run: nppLearningRates },
  'gpt-train-steps': { run: gptTrainSteps },
  'npp-train-steps': { run: nppTrainSteps },
  'gpt-generate': { run: gptGenerate },
  'logit-filter': { run: logitFilter },
  'logit-probs': { run: logitProbs },
  't2i-caption-embed': { run: captionEmbed },
  't2i-generate': { run: captionGenerate },
  't2i-forward-loss': { run: captionForwardLoss },
};

export function runnerOf(kind: string): Runner | undefined {
  return RUNNERS[kind]?.run;
}

export function isCovered(golden: GoldenCase, folder: GoldenFolder): boolean {
  const entry = RUNNERS[golden.kind];
  if (entry === undefined) return false;
  const network = String((golden.config ?? folder.config).network);
  return entry.networks === undefined || entry.networks.includes(network);
}
