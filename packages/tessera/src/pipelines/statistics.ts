/**
 * `tessera stats`: mean and covariance of a set of pictures as an npz, for `--reference` and for the reference evaluators
 * (`mu`, `sigma`; under the protocol adm also `mu_s`, `sigma_s`). Features are kept beside it, so that a killed run goes on.
 */

import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { scope } from '@tessera/torch';
import { requireFileName } from '../data/whole-folder.ts';
import { openExtractor } from './evaluate/extractor.ts';
import { FeatureStore } from './evaluate/feature-store.ts';
import { holdsModel } from './evaluate/open-model.ts';
import { openSource } from './evaluate/open-source.ts';
import { amongProcesses, type Processes } from './evaluate/processes.ts';
import { PROTOCOLS, type ProtocolName } from './evaluate/protocols.ts';
import { writeStatistics } from './evaluate/statistics-file.ts';
import { PipelineError, type PipelineEvent } from './events.ts';

export interface StatisticsOptions {
  /** Pictures, as for evaluate. */
  source: string;
  /** File to write. */
  out: string;
  protocol?: ProtocolName | undefined;
  inception?: string | undefined;
  size?: number | undefined;
  signal?: AbortSignal | undefined;
}

export async function* makeStatistics(options: StatisticsOptions): AsyncGenerator<PipelineEvent> {
  yield* amongProcesses((processes) => statisticsShared(options, processes));
}

async function* statisticsShared(options: StatisticsOptions, processes: Processes): AsyncGenerator<PipelineEvent> {
  const { source: path, out, inception, size, signal } = options;
  const protocol = PROTOCOLS[options.protocol ?? 'fid'];
  requireFileName(out);
  if (holdsModel(path)) {
    throw new PipelineError(
      'OPTIONS',
      `${path} is a model, and statistics are of pictures: let "tessera sample" draw some.`,
    );
  }
  const extractor = openExtractor(protocol, inception);
  try {
    const source = await openSource({ source: path, protocol, size, signal });
    try {
      const { images } = source;
      yield { kind: 'stage', stage: 'stats', message: `${images.count} pictures of ${path}, ${extractor.name}` };
      mkdirSync(dirname(out), { recursive: true });
      const store = new FeatureStore(`${out}.features`, images, extractor, protocol);
      yield* store.fill(images, extractor, { stage: 'stats', processes, signal });
      if (!store.isComplete || (processes.areTogether && processes.rank > 0)) {
        yield { kind: 'result', result: { out, complete: false } };
        return;
      }
      scope(() => {
        const pool = store.statistics('pool', extractor.dim, protocol.statistics);
        const spatial = protocol.sfid
          ? store.statistics('spatial', extractor.spatialDim, protocol.statistics)
          : undefined;
        writeStatistics(out, pool, spatial);
      });
      yield { kind: 'file', path: out, what: `statistics of ${images.count} pictures` };
      const { name, sha256 } = extractor;
      const result = { out, numImages: images.count, protocol: protocol.name, extractor: { name, sha256 } };
      yield { kind: 'result', result };
    } finally {
      source.dispose();
    }
  } finally {
    extractor.dispose();
  }
}
