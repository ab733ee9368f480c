/**
 * What an objective is made of, as typed: `fd-local`, or `fid + 0.5·recall` written `fid:1,recall:-0.5`. A search makes the
 * sum small, so scores that should be large (is, precision, recall) count negatively unless a weight is given.
 */

import { nearest, strictConfig } from '@tessera/schedule';
import { z } from 'zod';
import { SearchError } from '../../search/search-error.ts';

/** Neighbours of precision and recall. */
export const NEIGHBOURS = 3;

/** What each measures, by which extractor; `likelihood` draws nothing. */
const KINDS = {
  fid: { extractor: 'inception', weight: 1, fewest: 2 },
  kid: { extractor: 'inception', weight: 1, fewest: 2 },
  is: { extractor: 'inception', weight: -1, fewest: 10 }, // one a split
  precision: { extractor: 'inception', weight: -1, fewest: NEIGHBOURS + 1 },
  recall: { extractor: 'inception', weight: -1, fewest: NEIGHBOURS + 1 },
  'fd-local': { extractor: 'local', weight: 1, fewest: 2 },
  'kid-local': { extractor: 'local', weight: 1, fewest: 2 },
  'precision-local': { extractor: 'local', weight: -1, fewest: NEIGHBOURS + 1 },
  'recall-local': { extractor: 'local', weight: -1, fewest: NEIGHBOURS + 1 },
  likelihood: { extractor: undefined, weight: 1, fewest: 1 },
} as const;

export type TermKind = keyof typeof KINDS;
export type ExtractorName = 'inception' | 'local';
export const termKinds = Object.keys(KINDS) as TermKind[];

export const termSchema = strictConfig({ kind: z.enum(termKinds as [TermKind, ...TermKind[]]), weight: z.number() });
export type ObjectiveTerm = z.output<typeof termSchema>;

/** `NAME` or `NAME:WEIGHT`, several separated by commas. */
export function parseTerms(text: string): ObjectiveTerm[] {
  return text.split(',').map((part) => {
    const [name = '', given, ...more] = part.trim().split(':');
    const weight = given === undefined ? undefined : Number(given);
    if (!isKind(name)) {
      const near = nearest(name, termKinds);
      const advice = near === undefined ? '' : `; did you mean "${near}"?`;
      throw new SearchError(
        'SEARCH_OBJECTIVE',
        `Expected an objective of ${termKinds.join(', ')}, got "${name}"${advice}`,
      );
    }
    if (
      more.length > 0 ||
      (weight !== undefined && (given?.trim() === '' || !Number.isFinite(weight) || weight === 0))
    ) {
      throw new SearchError(
        'SEARCH_OBJECTIVE',
        `Expected a weight other than 0 after "${name}:", got "${part.trim()}".`,
      );
    }
    return { kind: name, weight: weight ?? KINDS[name].weight };
  });
}

export function describeTerms(terms: readonly ObjectiveTerm[]): string {
  return terms.map(({ kind, weight }) => (weight === 1 ? kind : `${weight}·${kind}`)).join(' + ');
}

/** Images without which one of the scores is not defined. */
export function fewestImages(terms: readonly ObjectiveTerm[]): number {
  return Math.max(...terms.map(({ kind }) => KINDS[kind].fewest));
}

export function extractorOf(kind: TermKind): ExtractorName | undefined {
  return KINDS[kind].extractor;
}

function isKind(name: string): name is TermKind {
  return Object.hasOwn(KINDS, name);
}
