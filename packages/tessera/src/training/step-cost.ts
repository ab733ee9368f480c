/**
 * What a step of training takes on many ranks, by counting: products, bytes between ranks, bytes of memory, rows read and
 * checkpoints written, each over a speed. The speeds of a machine are measured (fitMachine, on `npm run bench -- distributed`) or assumed;
 * the terms are those of this trainer, such as one collective a parameter where parameters are sharded. docs/planning.md
 * holds its predictions for larger fleets.
 *
 * Exchange: collectives over rings inside each machine and between machines (Thakur et al. 2005, "Optimization of
 * collective communication operations in MPICH"): an all-reduce of B bytes on g ranks of each of m machines sends 2 (g−1)/g B inside and
 * 2 (m−1)/m B through each machine's network.
 */

export interface TrainingWork {
  parameters: number;
  /** Trained tensors, and how many of them are in blocks: sharded parameters travel one by one. */
  tensors: number;
  /** Multiply-accumulates of the forward pass of one image. */
  macs: number;
}

export interface LinkSpeed {
  bytesPerSecond: number;
  /** Of a collective before the first byte. */
  startSeconds: number;
}

export interface FleetSpeeds {
  /** Multiply-accumulates a second of one rank, in training. */
  macsPerSecond: number;
  /** Of one rank's memory. */
  memoryBytesPerSecond: number;
  ranksPerMachine: number;
  /** Between ranks of a machine. */
  inside: LinkSpeed;
  /** Between machines, of all ranks of one together. */
  between: LinkSpeed;
  /** Share of what travels during the backward pass that it hides, where it is long enough; 0 where both want the same cores. */
  hidden: number;
  /** Rows of tokens that a rank reads. */
  rowsPerSecond: number;
  /** Written by a machine, flushed and hashed. */
  checkpointBytesPerSecond: number;
}

export interface FleetSetup {
  ranks: number;
  globalBatch: number;
  sharding: 'none' | 'optimizer' | 'parameters';
  /** Shards that a rank accumulates in a step; default 1. */
  shardsPerRank?: number;
  /** Steps between checkpoints. */
  checkpointEvery: number;
}

/** Seconds of a step. */
export interface StepCost {
  compute: number;
  optimizer: number;
  /** What is sent, and what of it is not hidden. */
  exchange: number;
  visibleExchange: number;
  input: number;
  /** A checkpoint's, spread over the steps between two. */
  checkpoint: number;
  total: number;
  imagesPerSecond: number;
  /** Share of the step that is computing. */
  efficiency: number;
}

/** float32 everywhere, as the trainer keeps it. */
const BYTES = 4;
/** A backward pass is two products for each one forward. */
const BACKWARD = 2;
/** AdamW reads weight, gradient and two moments and writes three of them; the average is read with the weight and written. */
const ADAM_BYTES = 7 * BYTES;
const EMA_BYTES = 3 * BYTES;

export function stepCost(work: TrainingWork, fleet: FleetSpeeds, setup: FleetSetup): StepCost {
  const { parameters, tensors, macs } = work;
  const { ranks, globalBatch, sharding, shardsPerRank = 1, checkpointEvery } = setup;
  const pieces = sharding === 'parameters';
  const images = globalBatch / ranks;
  const forward = (images * macs) / fleet.macsPerSecond;
  // Pieces are recomputed block by block.
  const compute = forward * (1 + BACKWARD + (pieces ? 1 : 0));
  const bytes = parameters * BYTES;

  const half = (times: number, messages: number) => halfAllReduce(bytes, ranks, fleet, times, messages);
  // Gather, gather again, scatter for every shard; or one all-reduce, and with shares of the moments a broadcast beside it.
  const passes = pieces ? 3 * shardsPerRank : sharding === 'optimizer' ? 3 : 2;
  const buckets = Math.ceil(bytes / BUCKET_BYTES);
  const exchange = half(passes, pieces ? passes * tensors : 2 * buckets + (sharding === 'optimizer' ? tensors : 0));
  const hideable = pieces ? compute : (forward * BACKWARD) / shardsPerRank;
  // The broadcast comes after the backward pass.
  const after = sharding === 'optimizer' ? half(1, tensors) : 0;
  // The last bucket is full when the pass is over.
  const last = pieces ? 0 : (exchange - after) * Math.min(1, BUCKET_BYTES / bytes);
  const during = exchange - after - last;
  const visibleExchange = after + last + Math.max(during * (1 - fleet.hidden), during - hideable);

  const share = sharding === 'none' ? 1 : 1 / ranks;
  const moved = ADAM_BYTES * share + EMA_BYTES * (pieces ? share : 1);
  const optimizer = (parameters * moved) / fleet.memoryBytesPerSecond;
  const input = images / fleet.rowsPerSecond;
  const machines = Math.ceil(ranks / fleet.ranksPerMachine);
  // Weights and average, two moments; what ranks have in parts all machines write at once.
  const written = bytes * (pieces ? 4 / machines : sharding === 'optimizer' ? 2 + 2 / machines : 4);
  const checkpoint = written / fleet.checkpointBytesPerSecond / checkpointEvery;
  const total = compute + optimizer + visibleExchange + input + checkpoint;
  return {
    ...{ compute, optimizer, exchange, visibleExchange, input, checkpoint, total },
    imagesPerSecond: globalBatch / total,
    efficiency: compute / total,
  };
}

/** DataParallelReducer's. */
const BUCKET_BYTES = 25 * 2 ** 20;

/** `times` gathers or scatters of all bytes, each half of an all-reduce, in so many messages altogether. */
function halfAllReduce(
  bytes: number,
  ranks: number,
  { ranksPerMachine, inside, between }: FleetSpeeds,
  times: number,
  messages: number,
): number {
  const g = Math.min(ranks, ranksPerMachine);
  const m = Math.ceil(ranks / ranksPerMachine);
  const ring = (n: number, { bytesPerSecond, startSeconds }: LinkSpeed) =>
    n === 1 ? 0 : (times * ((n - 1) / n) * bytes) / bytesPerSecond + messages * Math.ceil(Math.log2(n)) * startSeconds;
  return ring(g, inside) + ring(m, between);
}

/** Of what `npm run bench -- distributed` measures; seconds, those of the step of a process's processors. */
export interface DistributedMeasurement {
  steps: { processor: { alone: number }; batch: number; parameters: number };
  allReduce: readonly { mebibytes: number; seconds: number }[];
  checkpoint: { bytes: number; write: number };
}

/**
 * The speeds of the machine that was measured.
 *
 * @param macs of the forward pass of one image of the network that was trained
 * @param rest what is not measured there
 */
export function fitMachine(
  { steps, allReduce, checkpoint }: DistributedMeasurement,
  macs: number,
  rest: Pick<FleetSpeeds, 'memoryBytesPerSecond' | 'rowsPerSecond' | 'hidden'>,
): FleetSpeeds {
  const optimizer = (steps.parameters * ADAM_BYTES) / rest.memoryBytesPerSecond;
  const link = fitLink(allReduce.map(({ mebibytes, seconds }) => ({ bytes: mebibytes * 2 ** 20, seconds })));
  return {
    ...rest,
    macsPerSecond: ((1 + BACKWARD) * macs * steps.batch) / (steps.processor.alone - optimizer),
    ranksPerMachine: 2,
    inside: link,
    between: link,
    checkpointBytesPerSecond: checkpoint.bytes / checkpoint.write,
  };
}

/**
 * Least squares of seconds = 2 start + bytes / speed, for all-reduces on two ranks, in which each sends the bytes once; every
 * size counts by its relative error, so that large ones do not drown what a start costs.
 */
export function fitLink(measured: readonly { bytes: number; seconds: number }[]): LinkSpeed {
  let [sxx, sx, s1, sxy, sy] = [0, 0, 0, 0, 0];
  for (const { bytes, seconds } of measured) {
    const weight = 1 / seconds ** 2;
    sxx += weight * bytes * bytes;
    sx += weight * bytes;
    s1 += weight;
    sxy += weight * bytes * seconds;
    sy += weight * seconds;
  }
  const slope = (s1 * sxy - sx * sy) / (s1 * sxx - sx * sx);
  // No start takes less than nothing: then the line goes through the origin.
  const start = (sy - slope * sx) / s1;
  if (start >= 0) return { bytesPerSecond: 1 / slope, startSeconds: start / 2 };
  return { bytesPerSecond: sxx / sxy, startSeconds: 0 };
}
