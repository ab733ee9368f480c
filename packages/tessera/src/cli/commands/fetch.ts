/** `tessera fetch`: public files by name. */

import { strictConfig } from '@tessera/schedule';
import { z } from 'zod';
import { fetchFiles } from '../../pipelines/fetch.ts';
import type { PublicFile } from '../../pipelines/official/public-files.ts';
import { text } from '../argument-values.ts';
import { defineCommand } from '../command.ts';

export const fetchCommand = defineCommand({
  name: 'fetch',
  summary: 'download official weights and reference files',
  details:
    'A download that is cut goes on where it was. Files with a published hash are checked, also those that were put there by hand.',
  args: {
    name: { type: 'positional', required: false, description: 'what to fetch, several with commas; without: the list' },
    out: { type: 'string', valueHint: 'FOLDER', description: 'where to (default: weights)' },
  },
  examples: [
    { command: 'fetch', what: 'what there is' },
    { command: 'fetch maskgit-vqgan,enat-l', what: 'ENAT-L and its tokenizer' },
  ],
  resumable: true,
  schema: strictConfig({ name: z.string().optional(), out: text('a folder').optional() }),
  run: ({ name, out }, { signal }) =>
    fetchFiles({ names: (name ?? '').split(',').filter((part) => part !== ''), out, signal }),
  print: ({ files }) =>
    (files as (PublicFile & { there?: boolean })[]).some(({ url }) => url !== undefined)
      ? table(files as (PublicFile & { there: boolean })[])
      : '',
});

function table(files: readonly (PublicFile & { there: boolean })[]): string {
  const rows = files.map(({ name, what, file, about, there }) => {
    const size = about === undefined ? '' : `about ${(about / 1e6).toFixed(0)} MB`;
    return `${name.padEnd(18)} ${what.padEnd(40)} ${size.padEnd(15)} ${there ? 'there' : file}`;
  });
  return `${rows.join('\n')}\n`;
}
