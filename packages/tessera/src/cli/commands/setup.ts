/** `tessera setup`: libtorch and the native addon, made once for a machine. */

import { strictConfig } from '@tessera/schedule';
import { setup } from '../../pipelines/setup.ts';
import { defineCommand } from '../command.ts';

export const setupCommand = defineCommand({
  name: 'setup',
  summary: 'fetch libtorch and build the native addon',
  details:
    'Needs a C++ compiler and cmake, and about 1 GB in the cache folder (TESSERA_CACHE names another one). What is ' +
    'already there is kept, so running it twice is harmless.',
  args: {},
  examples: [{ command: 'setup', what: 'once after installing' }],
  schema: strictConfig({}),
  run: (_, { signal }) => setup({ signal }),
});
