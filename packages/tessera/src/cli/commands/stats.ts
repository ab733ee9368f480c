/** `tessera stats`: reference statistics of pictures. */

import { strictConfig } from '@tessera/schedule';
import { protocolNames } from '../../pipelines/evaluate/protocols.ts';
import { makeStatistics } from '../../pipelines/statistics.ts';
import { oneOf, text, wholeNumber } from '../argument-values.ts';
import { defineCommand } from '../command.ts';

export const statsCommand = defineCommand({
  name: 'stats',
  summary: 'make reference statistics of pictures',
  details:
    'Writes mu and sigma (and mu_s, sigma_s for adm) as the reference evaluators read them. Features are kept beside it, in ' +
    'FILE.features, so that the same command goes on after a kill; they may be removed afterwards.',
  args: {
    source: { type: 'positional', required: true, description: 'folder of images or .npz with arr_0' },
    out: { type: 'string', required: true, valueHint: 'FILE', description: 'the .npz to write' },
    protocol: { type: 'string', valueHint: protocolNames.join('|'), description: 'for which protocol (default fid)' },
    inception: { type: 'string', valueHint: 'FILE', description: 'weights of Inception' },
    size: { type: 'string', valueHint: 'PX', description: 'crop and resize pictures of folders' },
  },
  examples: [
    { command: 'stats images/train --size 256 --protocol enat --out stats-256.npz', what: 'for an own data set' },
  ],
  resumable: true,
  schema: strictConfig({
    source: text('pictures'),
    out: text('a file'),
    protocol: oneOf(protocolNames).optional(),
    inception: text('a file').optional(),
    size: wholeNumber(1, 65536).optional(),
  }),
  run: (options, { signal }) => makeStatistics({ ...options, signal }),
});
