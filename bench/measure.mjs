// How times are taken. A case is warmed up, its block length is chosen so that one block takes about BLOCK_SECONDS, and
// then the rounds begin: in every round each case runs one block, and where PyTorch is at hand the same case runs there
// right after it. So what else the machine does falls on all columns alike. Reported is the median over rounds, with the
// spread from the fastest to the slowest round. Of a case that takes microseconds a round counts the shortest call alone:
// an interrupt is longer than what is measured.

const BLOCK_SECONDS = 0.25;
const MAX_CALLS = 1 << 20;
/** Blocks of a round where its shortest call counts: virtual processors run at half their rate for seconds. */
const TURNS = 6;

/**
 * @typedef {object} Case
 * @property {string} name shown in the table, and what the Python side knows the case by
 * @property {string} unit of the number reported
 * @property {(seconds: number) => number} value turns seconds of one call into that number
 * @property {() => void} run one call
 * @property {boolean} [shortest] a round's value is its shortest call, not the mean
 *
 * @typedef {{median: number, low: number, high: number}} Result in the case's unit
 * @typedef {{name: string, unit: string, ours: Result, torch?: Result}} Row
 */

/**
 * @param {readonly Case[]} cases
 * @param {number} rounds
 * @param {{seconds: (name: string) => Promise<number | undefined>} | undefined} peer
 * @param {(text: string) => void} progress
 * @returns {Promise<Row[]>}
 */
export async function measure(cases, rounds, peer, progress) {
  const calls = cases.map(({ run }) => blockLength(run));
  const ours = cases.map(() => []);
  const theirs = cases.map(() => []);
  for (let round = 0; round < rounds; round++) {
    progress(`round ${round + 1} of ${rounds}`);
    for (const [i, { name, run, value, shortest }] of cases.entries()) {
      let [own, other] = [Number.POSITIVE_INFINITY, undefined];
      for (let turn = 0; turn < (shortest ? TURNS : 1); turn++) {
        own = Math.min(own, shortest ? shortestOf(run, calls[i]) : secondsOf(run, calls[i]));
        const seconds = await peer?.seconds(name);
        if (seconds !== undefined) other = Math.min(seconds, other ?? seconds);
      }
      ours[i].push(value(own));
      if (other !== undefined) theirs[i].push(value(other));
    }
  }
  return cases.map(({ name, unit }, i) => ({
    name,
    unit,
    ours: summary(ours[i]),
    ...(theirs[i].length === 0 ? {} : { torch: summary(theirs[i]) }),
  }));
}

/** Median, lowest and highest. */
export function summary(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const median = sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
  return { median, low: sorted[0], high: sorted.at(-1) };
}

/** Seconds of one call, over a block of them. */
function secondsOf(run, calls) {
  const began = performance.now();
  for (let i = 0; i < calls; i++) run();
  return (performance.now() - began) / 1000 / calls;
}

/** Seconds of the shortest of them. */
function shortestOf(run, calls) {
  let shortest = Number.POSITIVE_INFINITY;
  for (let i = 0; i < calls; i++) shortest = Math.min(shortest, secondsOf(run, 1));
  return shortest;
}

function blockLength(run) {
  run();
  let calls = 1;
  for (;;) {
    const seconds = secondsOf(run, calls) * calls;
    if (seconds >= BLOCK_SECONDS || calls >= MAX_CALLS) return calls;
    calls = Math.min(
      MAX_CALLS,
      seconds < BLOCK_SECONDS / 16 ? calls * 8 : Math.ceil((calls * BLOCK_SECONDS) / seconds),
    );
  }
}
