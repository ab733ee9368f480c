/** What candidates of a search are measured by: the arguments that `search` and `search-training` have in common. */

import { termKinds } from '../pipelines/search/objective-terms.ts';
import { text, wholeNumber } from './argument-values.ts';
import type { Arguments } from './command.ts';

export const objectiveArguments = {
  objective: {
    type: 'string',
    valueHint: 'NAME[:W],…',
    description: `what is made small, a weighted sum of ${termKinds.join(', ')} (default fd-local)`,
  },
  reference: {
    type: 'string',
    valueHint: 'PATH',
    description: 'real images: a folder, a token data set, or an .npz with mu and sigma',
  },
  'max-reference': { type: 'string', valueHint: 'N', description: 'at most so many of them' },
  inception: { type: 'string', valueHint: 'FILE', description: 'weights for fid, kid, is, precision, recall' },
} as const satisfies Arguments;

/** Of the schema. */
export const objectiveFields = {
  objective: text('an objective').optional(),
  reference: text('an image folder, tokens or a statistics file').optional(),
  maxReference: wholeNumber(2).optional(),
  inception: text('a weights file').optional(),
};
