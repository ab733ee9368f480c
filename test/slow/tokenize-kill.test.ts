/** Twelve kills of `tessera tokenize`, see test/kill/kill-tokenize.ts. */

import { it } from 'vitest';
import { expectSameTokensAfterKills } from '../kill/kill-tokenize.ts';

it('tokenize leaves the same bytes after twelve kills', () => expectSameTokensAfterKills(6, 11), 600_000);
