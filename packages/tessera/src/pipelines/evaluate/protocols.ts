/**
 * How a published number was measured, as data: what a protocol fixes is not the user's to choose, and its name stands in
 * every result. Sources: AutoNAT's and ENAT's evaluation (pytorch-fid, in float32, pictures never rounded), and the ADM
 * evaluator (guided-diffusion), which LlamaGen and NPP use as well.
 */

import type { StatisticsPrecision } from '../../metrics/feature-statistics.ts';
import type { InceptionInput } from '../../metrics/inception.ts';
import type { InceptionScoreConvention } from '../../metrics/inception-score.ts';
import type { DistancePrecision } from '../../metrics/manifold.ts';

export const protocolNames = ['fid', 'autonat', 'enat', 'adm', 'local'] as const;
export type ProtocolName = (typeof protocolNames)[number];

export interface Protocol {
  name: ProtocolName;
  /** For people. */
  what: string;
  extractor: 'inception' | 'local';
  /** How pictures reach Inception. */
  input: InceptionInput;
  /** What becomes of the transparency of files: the evaluators drop it (`convert('RGB')`), or it is laid on white. */
  alpha: 'drop' | 'white';
  /** `bytes`: pictures of a model are rounded to 8 bits first. `float`: they are not. */
  rounding: 'bytes' | 'float';
  statistics: StatisticsPrecision;
  /**
   * Labels of generated images: drawn uniformly; equally many of each in the order of the classes, the rest of class 0; or
   * spread evenly over the classes in their order, whatever the number of images.
   */
  classes: 'uniform' | 'balanced' | 'even';
  /** Number of images of published numbers. */
  numImages: number;
  /** Names of the files that published numbers are taken against. */
  references: readonly string[];
  /** What the Fréchet distance is called. */
  distance: 'FID' | 'FD-local';
  sfid: boolean;
  inceptionScore: InceptionScoreConvention | undefined;
  manifold: { precision: DistancePrecision; most: number } | undefined;
  kid: 'KID' | 'KID-local' | undefined;
}

const PYTORCH_FID = {
  extractor: 'inception',
  input: 'pytorch-fid',
  alpha: 'drop',
  distance: 'FID',
  sfid: false,
} as const;
const GUIDED_DIFFUSION = [256, 512].map((size) => `fid_stats_imagenet${size}_guided_diffusion.npz`);
const VIRTUAL = [256, 512].map((size) => `VIRTUAL_imagenet${size}_labeled.npz`);
const BARE = { inceptionScore: undefined, manifold: undefined, kid: undefined } as const;
/** Nearest neighbours of more images than these take minutes. */
const EXACT = { precision: 'float64', most: 10_000 } as const;

export const PROTOCOLS: Record<ProtocolName, Protocol> = {
  fid: {
    ...PYTORCH_FID,
    name: 'fid',
    what: 'pytorch-fid in float64, with KID, precision, recall and the Inception Score of torch-fidelity',
    rounding: 'bytes',
    statistics: 'float64',
    classes: 'uniform',
    numImages: 50_000,
    references: [],
    inceptionScore: 'torch-fidelity',
    manifold: EXACT,
    kid: 'KID',
  },
  autonat: {
    ...PYTORCH_FID,
    ...BARE,
    name: 'autonat',
    what: "AutoNAT's evaluation: FID of pictures that are not rounded, classes drawn uniformly, float32 statistics",
    rounding: 'float',
    statistics: 'float32',
    classes: 'uniform',
    numImages: 50_000,
    references: GUIDED_DIFFUSION,
  },
  enat: {
    ...PYTORCH_FID,
    ...BARE,
    name: 'enat',
    what: "ENAT's evaluation: as AutoNAT's, with equally many images of each class",
    rounding: 'float',
    statistics: 'float32',
    classes: 'balanced',
    numImages: 50_000,
    references: GUIDED_DIFFUSION,
  },
  adm: {
    name: 'adm',
    what: "the ADM evaluator's (LlamaGen, NPP): FID, sFID, Inception Score, precision and recall in half precision",
    extractor: 'inception',
    input: 'tf1',
    alpha: 'drop',
    rounding: 'bytes',
    statistics: 'float64',
    classes: 'uniform',
    numImages: 50_000,
    references: VIRTUAL,
    distance: 'FID',
    sfid: true,
    inceptionScore: 'adm',
    manifold: { precision: 'float16', most: 50_000 },
    kid: undefined,
  },
  local: {
    name: 'local',
    what: 'the local extractor: FD-local, KID-local, precision, recall, density, coverage; no relation to FID',
    extractor: 'local',
    input: 'pytorch-fid',
    alpha: 'white',
    rounding: 'bytes',
    statistics: 'float64',
    classes: 'even',
    numImages: 1000,
    references: [],
    distance: 'FD-local',
    sfid: false,
    inceptionScore: undefined,
    manifold: EXACT,
    kid: 'KID-local',
  },
};
