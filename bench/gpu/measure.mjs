// Times on a device: everything that was started is waited for before a clock is read. A case is warmed up, runs at least
// a quarter of a second a round where it is short, and is reported as the median of its rounds with the spread.

import * as T from '@tessera/torch';

export const device = process.env.DEVICE === 'cpu' ? 'cpu' : 'cuda';
const ROUNDS = device === 'cpu' ? 2 : 7;
const WARM_UPS = device === 'cpu' ? 1 : 3;
const ROUND_SECONDS = device === 'cpu' ? 0 : 0.25;
/** No round of a case begins later than this. */
const LAST_START_SECONDS = 12;

export function wait() {
  if (device === 'cuda') T.cudaSynchronize();
}

/** @returns {{seconds: number, low: number, high: number, peakBytes: number | undefined}} */
export function timed(run) {
  if (device === 'cuda') {
    T.emptyCache();
    T.resetPeakMemory();
  }
  for (let k = 0; k < WARM_UPS; k++) run();
  let calls = 1;
  const first = seconds(run, 1);
  if (first < ROUND_SECONDS) calls = Math.ceil(ROUND_SECONDS / first);
  const began = performance.now();
  const rounds = [];
  for (let round = 0; round < ROUNDS; round++) {
    if (round > 1 && performance.now() - began > LAST_START_SECONDS * 1000) break;
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

/** A JSON line; a case that fails is a line too, and the next one runs. */
export function report(who, item, body) {
  const { part, name, flops, bytes, published } = item;
  const about = { part, case: name, who, flops, bytes, published };
  try {
    console.log(JSON.stringify({ ...about, ...body() }));
  } catch (error) {
    console.log(JSON.stringify({ ...about, error: String(error.message).split('\n')[0] }));
    if (device === 'cuda') T.emptyCache();
  }
}
