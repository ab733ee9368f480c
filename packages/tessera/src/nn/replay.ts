/**
 * Work that is started again and again with the same shapes: on a GPU recorded once as a CUDA graph and replayed, so that
 * the host's cost of each operation is paid once; elsewhere simply run again. The body reads and writes tensors that stay
 * where they are, and must not ask for values nor make tensors on the host (torch/src/cuda/graph.ts).
 */

import { CudaGraph, type Device, keep, scope, type Tensor } from '@tessera/torch';

/** 0 in this environment variable: nothing is recorded. */
export const GRAPHS_VARIABLE = 'TESSERA_CUDA_GRAPHS';

/** Whether work on a device is recorded unless something else is asked for. */
export function graphsByDefault(device: Device): boolean {
  return device.startsWith('cuda') && process.env[GRAPHS_VARIABLE] !== '0';
}

/** What a body gives: tensors by name. */
export type ReplayResult = Readonly<Record<string, Tensor | undefined>>;

export interface Replay<T extends ReplayResult> {
  /** Does the work; the result's tensors hold its values until the next call, and are not the caller's. */
  run(): T;
  dispose(): void;
  /** What was recorded, where something was. */
  readonly graph?: CudaGraph<T>;
}

/**
 * @param warmUps runs before the recording, in which libraries choose their algorithms; they do what a run does
 * @param memoryOf work whose memory this one may use too, where neither gives results (CaptureOptions)
 */
export function replayable<T extends ReplayResult>(
  device: Device,
  body: () => T,
  { warmUps = 1, memoryOf }: { warmUps?: number; memoryOf?: Replay<ReplayResult> | undefined } = {},
): Replay<T> {
  if (!device.startsWith('cuda')) return { run: () => scope(body), dispose: () => {} };
  const graph = CudaGraph.capture(() => scope(body), { warmUps, memoryOf: memoryOf?.graph });
  const results = Object.values(graph.result).filter((tensor) => tensor !== undefined);
  for (const tensor of results) keep(tensor);
  return {
    graph,
    run: () => graph.replay(),
    dispose: () => {
      for (const tensor of results) tensor.dispose();
      graph.dispose();
    },
  };
}
