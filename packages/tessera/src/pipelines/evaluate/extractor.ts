/** The networks that evaluations look through: Inception from the user's file, or the local extractor that is shipped. */

import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { noGrad, scope, type Tensor } from '@tessera/torch';
import { sha256OfFile } from '../../data/hash-file.ts';
import { type InceptionV3, loadInception } from '../../metrics/inception.ts';
import { loadLocalExtractor } from '../../metrics/local-extractor.ts';
import { networkDevice } from '../../nn/device.ts';
import { PipelineError } from '../events.ts';
import { shippedModel } from '../fit/shipped-models.ts';
import { loadWeights } from '../load-weights.ts';
import type { Protocol } from './protocols.ts';

export interface EvaluationExtractor {
  readonly name: string;
  /** SHA-256 of the weights file. */
  readonly sha256: string;
  readonly dim: number;
  /** Pictures that are in the network at the same time. */
  readonly batch: number;
  /** Width of the spatial features, 0 where the protocol has none. */
  readonly spatialDim: number;
  /** What Inception Scores are made of. */
  readonly inception: InceptionV3 | undefined;
  /** images — as FeatureExtractor's; the caller's scope owns the result. */
  run(images: Tensor): { pool: Tensor; spatial?: Tensor };
  dispose(): void;
}

const INCEPTION_FILE = 'pt_inception-2015-12-05-6726825d.pth';
const SPATIAL_DIM = 2023;

/** @param inceptionFile the user's; default: where `tessera fetch fid-inception` puts it */
export function openExtractor(protocol: Protocol, inceptionFile: string | undefined): EvaluationExtractor {
  return protocol.extractor === 'local' ? openLocal() : openInception(protocol, inceptionFile);
}

function openInception(protocol: Protocol, given: string | undefined): EvaluationExtractor {
  const path = given ?? join('weights', INCEPTION_FILE);
  if (!existsSync(path)) {
    throw new PipelineError(
      'INCEPTION_MISSING',
      `The protocol ${protocol.name} needs Inception's weights, and there are none at ${path}: "tessera fetch fid-inception" gets them, --inception FILE names them. Without them "--protocol local" measures with the local extractor, under other names.`,
    );
  }
  const model = scope(() => loadInception(loadWeights(path), path));
  const { input, sfid } = protocol;
  return {
    name: `inception-2015 (${input})`,
    sha256: sha256OfFile(path),
    dim: 2048,
    batch: networkDevice() === 'cpu' ? 16 : 64, // of 299 px, 16 of which take about 1 GB of activations
    spatialDim: sfid ? SPATIAL_DIM : 0,
    inception: model,
    run: (images) => {
      const { pool, spatial } = model.features(images, input);
      return sfid ? { pool, spatial } : { pool };
    },
    dispose: () => model.dispose(),
  };
}

function openLocal(): EvaluationExtractor {
  const path = localWeights();
  const model = noGrad(() => scope(() => loadLocalExtractor(loadWeights(path), path)));
  return {
    name: 'local-1',
    sha256: sha256OfFile(path),
    dim: model.dim,
    batch: 64,
    spatialDim: 0,
    inception: undefined,
    run: (images) => ({ pool: model.features(images) }),
    dispose: () => model.dispose(),
  };
}

function localWeights(): string {
  const emoji = shippedModel('emoji-32');
  const path = emoji === undefined ? undefined : join(dirname(emoji), 'local-extractor', 'model.safetensors');
  if (path !== undefined && existsSync(path)) return path;
  throw new PipelineError(
    'EXTRACTOR_MISSING',
    'The local extractor comes with the package @tessera/models-emoji, which is not installed beside tessera.',
  );
}
