/**
 * An encoder or decoder as a list of steps, run one after the other. What lies between two steps is freed as soon as the
 * next one has read it (autograd keeps what it needs by itself), so the memory is that of the widest step, not of all.
 */

import { isGradEnabled, scope, type Tensor } from '@tessera/torch';

export interface Step {
  run(x: Tensor): Tensor;
  /**
   * The same in bands of that many rows, in memory of one input, one output and a band; x may be written over. Steps
   * without it, at the lowest resolution, are run whole.
   */
  runBands?(x: Tensor, rows: number): Tensor;
  /** Names its result for probes. */
  place?: string;
}

/** Sees intermediate values by the name of their place, such as `encoder.level0.downsample`. */
export type Probe = (place: string, value: Tensor) => void;

/** The steps in turn; with a probe nothing is freed before the caller's scope ends. */
export function runSteps(input: Tensor, steps: readonly Step[], probe?: Probe): Tensor {
  if (probe === undefined) return inTurn(rowsOfPixels(input), steps, ({ run }, x) => run(x));
  return steps.reduce((x, { run, place }) => {
    const result = run(x);
    if (place !== undefined) probe(place, result);
    return result;
  }, input);
}

/** The same, in bands of `tokenRows` rows of the input, which grow with the picture. Call it under noGrad. */
export function runStepsInBands(input: Tensor, steps: readonly Step[], tokenRows: number): Tensor {
  const height = input.size(2);
  return inTurn(rowsOfPixels(input), steps, ({ run, runBands }, x) =>
    runBands === undefined ? run(x) : runBands(x, (tokenRows * x.size(2)) / height),
  );
}

function inTurn(input: Tensor, steps: readonly Step[], run: (step: Step, x: Tensor) => Tensor): Tensor {
  let x = input;
  for (const step of steps) {
    const next = scope(() => run(step, x));
    if (x !== input && x !== next) x.dispose();
    x = next;
  }
  return x;
}

/**
 * Channels last: on CPUs the wide convolutions take 0.8 of the time, since nothing is reordered around them, and bands of
 * rows lie in one piece. Not with gradients, so that training stays what it was to the bit.
 */
function rowsOfPixels(x: Tensor): Tensor {
  return isGradEnabled() || x.device !== 'cpu' ? x : x.channelsLast();
}
