// Why a collective failed. libtorch knows "timed out" or "connection closed"; the signs of life of the other ranks
// (native/c10d_presence.h) tell which of them is gone, has left, has failed before, or has not come yet.

import { DistributedError, type DistributedErrorCode } from './distributed-error.ts';

/** What a rank said last of one group: `sequence` counts its collectives. */
export interface Sign {
  readonly sequence: number;
  /** The collective that it entered last, `left`, or `failed: …`. */
  readonly label: string;
}

/** Reads one rank's sign: a counter, then a line a group: name, sequence, label. */
export function parseSign(text: string, group: string): Sign | undefined {
  for (const line of text.split('\n').slice(1)) {
    const match = /^(\S+) (\d+) (.*)$/s.exec(line);
    if (match?.[1] === group) return { sequence: Number(match[2]), label: match[3]! };
  }
  return undefined;
}

export interface Situation {
  readonly operation: string;
  /** The group's name and its ranks in the world, in group order. */
  readonly group: string;
  readonly ranks: readonly number[];
  /** This process's rank in the world. */
  readonly rank: number;
  readonly sequence: number;
  readonly label: string;
  /** A text a rank of the group; empty: no sign of life in the window. */
  readonly signs: readonly string[];
  readonly windowMs: number;
  readonly timeoutMs: number;
  readonly cause: unknown;
}

/** The error of a failed collective, with everything that the others' signs tell. */
export function explainFailure(situation: Situation): DistributedError {
  const { operation, group, ranks, rank, sequence, label, signs, windowMs, timeoutMs, cause } = situation;
  const found: { rank: number; code: DistributedErrorCode; text: string }[] = [];
  ranks.forEach((other, k) => {
    if (other === rank) return;
    const sign = parseSign(signs[k]!, group);
    const add = (code: DistributedErrorCode, text: string) => found.push({ rank: other, code, text });
    if (signs[k] === '') add('RANK_GONE', `rank ${other} is gone (no sign of life for ${windowMs / 1000} s)`);
    else if (sign === undefined) add('RANK_MISSING', `rank ${other} did not come (it has not entered the group)`);
    else if (sign.label.startsWith('left')) add('RANK_GONE', `rank ${other} has left the group`);
    else if (sign.label.startsWith('failed')) add('RANK_GONE', `rank ${other} ${sign.label}`);
    else if (sign.sequence < sequence) {
      add('RANK_MISSING', `rank ${other} did not come (it is after collective ${sign.sequence}, ${sign.label})`);
    } else if (sign.sequence === sequence && sign.label !== label) {
      add('RANKS_DISAGREE', `rank ${other} is in ${sign.label} instead`);
    }
  });
  const said = cause instanceof Error ? cause.message : String(cause);
  const timedOut = /time.?d? ?out/i.test(said);
  const what = `${timedOut ? `not done within ${timeoutMs / 1000} s` : 'the connection broke'} at collective ${sequence} (${label}) on rank ${rank}`;
  if (found.length === 0) {
    return new DistributedError('COMMUNICATION', operation, `${what}, though all ranks are there: ${firstLine(said)}`, {
      cause,
    });
  }
  // The cause before its consequences: who is gone, then who disagrees or did not come, then who failed because of that.
  const isEcho = ({ text }: { text: string }) => / failed: /.test(text);
  const order = (entry: (typeof found)[number]) => (isEcho(entry) ? 2 : entry.code === 'RANK_GONE' ? 0 : 1);
  found.sort((a, b) => order(a) - order(b));
  const blamed = found.some((entry) => !isEcho(entry)) ? found.filter((entry) => !isEcho(entry)) : found;
  return new DistributedError(blamed[0]!.code, operation, `${what}: ${found.map(({ text }) => text).join('; ')}`, {
    ranks: blamed.map((entry) => entry.rank),
    cause,
  });
}

function firstLine(text: string): string {
  return text.split('\n')[0]!;
}
