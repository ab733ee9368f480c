// Times on a device: everything that was started is waited for before a clock is read. A case is warmed up, runs at least
// a quarter of a second a round where it is short, and is reported as the median of its rounds with the spread. A long one
// is warmed up once and runs three times.
//
// Results are counted within a process: FROM leaves out those before, and after DEADLINE (seconds since 1970) none is begun
// any more. What begins is said in a line first, so that in-turn.mjs knows whose end an end is.

import * as T from '@tessera/torch';

export const device = process.env.DEVICE === 'cpu' ? 'cpu' : 'cuda';
const ROUNDS = device === 'cpu' ? 2 : 7;
const WARM_UPS = device === 'cpu' ? 1 : 3;
const ROUND_SECONDS = device === 'cpu' ? 0 : 0.25;
/** From here on a run is long. */
const LONG_SECONDS = 0.7;
const LONG_ROUNDS = 3;
/** No round of a case begins later than this. */
const LAST_START_SECONDS = 12;
/** Exit code after a case that failed on a device: what it left there is no place for the next one. */
const SPOILT = 3;

const from = Number(process.env.FROM ?? 0);
const deadline = Number(process.env.DEADLINE ?? Number.POSITIVE_INFINITY);
let begun = 0;

export function wait() {
  if (device === 'cuda') T.cudaSynchronize();
}

/**
 * @param {() => void} run
 * @param {number} [least] runs before the first that may count
 * @returns {{seconds: number, low: number, high: number, peakBytes: number | undefined}}
 */
export function timed(run, least = 1) {
  if (device === 'cuda') {
    T.emptyCache();
    T.resetPeakMemory();
  }
  for (let k = 0; k < least; k++) run();
  const first = seconds(run, 1);
  const isLong = first > LONG_SECONDS;
  if (!isLong) for (let k = least + 1; k < WARM_UPS; k++) run();
  const calls = first < ROUND_SECONDS ? Math.ceil(ROUND_SECONDS / first) : 1;
  const began = performance.now();
  const rounds = isLong ? [first] : [];
  while (rounds.length < (isLong ? Math.min(LONG_ROUNDS, ROUNDS) : ROUNDS)) {
    if (rounds.length > 1 && performance.now() - began > LAST_START_SECONDS * 1000) break;
    rounds.push(seconds(run, calls));
  }
  rounds.sort((a, b) => a - b);
  const peakBytes = device === 'cuda' ? T.cudaMemoryStats().peakAllocated : undefined;
  return { seconds: rounds[rounds.length >> 1], low: rounds[0], high: rounds.at(-1), peakBytes };
}

function seconds(run, calls) {
  wait();
  const began = performance.now();
  for (let k = 0; k < calls; k++) run();
  wait();
  return (performance.now() - began) / 1000 / calls;
}

/** A JSON line; a case that fails is a line too. */
export function report(who, item, body) {
  const index = begun++;
  if (index < from) return;
  const { part, name, flops, bytes, published } = item;
  const about = { part, case: name, who, flops, bytes, published };
  if (Date.now() / 1000 > deadline) {
    console.error(`left out, no time: ${name}, ${who}`);
    return;
  }
  console.log(JSON.stringify({ begin: index, ...about }));
  try {
    console.log(JSON.stringify({ ...about, ...body() }));
  } catch (error) {
    console.log(JSON.stringify({ ...about, error: String(error.message).split('\n')[0] }));
    console.error(error);
    if (device === 'cuda') process.exit(SPOILT);
  }
}
