// The debug mode of memory: while it is on, every tensor remembers where it was made. At the end of each outermost scope
// it reports the tensors made inside that live on without being the scope's result (somebody kept them), and those that
// no JavaScript object names any more and that nobody can free. Costs a stack trace a tensor: for finding leaks, not for
// running. Each thread has its own; finalizers only report here, they free nothing (design rule 1).

import { watchTensors } from './dispatch.ts';
import { addon } from './native/addon.ts';
import { isOwnFrame } from './own-frames.ts';

export interface LiveTensor {
  /** `float32 [2, 3]` */
  readonly tensor: string;
  readonly device: string;
  /** Of its own entries; what it shares with other tensors counts for each. */
  readonly bytes: number;
  /** The call that made it, outside this package, and its callers; undefined for tensors made before the tracing. */
  readonly madeAt: string | undefined;
  /** No JavaScript object names it any more: it can never be freed. Known only after a garbage collection. */
  readonly lost: boolean;
}

interface Origin {
  readonly stack: string;
  /** Made inside the outermost scope that is open now. */
  inside: boolean;
  lost: boolean;
}

interface Trace {
  readonly origins: Map<number, Origin>;
  readonly report: (leaks: readonly LiveTensor[]) => void;
  scopeOpen: boolean;
}

let trace: Trace | undefined;

/**
 * Starts the debug mode on this thread and returns the function that ends it. `report` is called at the end of an
 * outermost scope that leaves leaks behind; the default prints them on standard error.
 */
export function traceMemory(
  report: (leaks: readonly LiveTensor[]) => void = (leaks) => console.error(formatLiveTensors(leaks)),
): () => void {
  const mine: Trace = { origins: new Map(), report, scopeOpen: false };
  const collected = new FinalizationRegistry<number>((handle) => {
    const origin = mine.origins.get(handle);
    if (origin !== undefined) origin.lost = addon().isLive(handle);
  });
  trace = mine;
  const stop = watchTensors((tensor) => {
    mine.origins.set(tensor.handle, { stack: callers(), inside: mine.scopeOpen, lost: false });
    collected.register(tensor, tensor.handle);
  });
  return () => {
    stop();
    if (trace === mine) trace = undefined;
  };
}

/** Every tensor alive on this thread, oldest slot first, with its origin where tracing saw it made. */
export function listLiveTensors(): LiveTensor[] {
  return addon()
    .liveHandles()
    .map((handle) => describe(handle, trace?.origins.get(handle)));
}

/** A paragraph for people: one line for each place, with the number of tensors made there, most bytes first. */
export function formatLiveTensors(tensors: readonly LiveTensor[]): string {
  const places = new Map<string, { count: number; bytes: number; example: LiveTensor }>();
  for (const live of tensors) {
    const key = `${live.lost} ${live.madeAt}`;
    const place = places.get(key) ?? { count: 0, bytes: 0, example: live };
    places.set(key, { ...place, count: place.count + 1, bytes: place.bytes + live.bytes });
  }
  const lines = [...places.values()]
    .sort((one, other) => other.bytes - one.bytes)
    .map(({ count, bytes, example }) => {
      const what = `${count} × ${example.tensor} on ${example.device}, ${bytes} bytes${example.lost ? ', lost' : ''}`;
      return `  ${what}\n${example.madeAt ?? '    made before the tracing began'}`;
    });
  return `${tensors.length} tensors live on:\n${lines.join('\n')}`;
}

/** Called by scope() around an outermost scope. */
export function outermostScopeBegins(): void {
  if (trace === undefined) return;
  trace.scopeOpen = true;
  for (const origin of trace.origins.values()) origin.inside = false;
}

/** Called by scope() when an outermost scope has freed its tensors; `results` are the handles that it gives back. */
export function outermostScopeEnds(results: readonly number[]): void {
  if (trace === undefined) return;
  trace.scopeOpen = false;
  const given = new Set(results);
  const leaks: LiveTensor[] = [];
  for (const [handle, origin] of trace.origins) {
    if (!addon().isLive(handle)) trace.origins.delete(handle);
    else if ((origin.inside && !given.has(handle)) || origin.lost) leaks.push(describe(handle, origin));
    origin.inside = false;
  }
  if (leaks.length > 0) trace.report(leaks);
}

function describe(handle: number, origin: Origin | undefined): LiveTensor {
  const native = addon();
  return {
    tensor: `${native.dtype(handle)} [${native.shape(handle).join(', ')}]`,
    device: native.device(handle),
    bytes: native.nbytes(handle),
    madeAt: origin?.stack,
    lost: origin?.lost ?? false,
  };
}

/** The stack without this package's own frames, which only say that a tensor was made. */
function callers(): string {
  const limit = Error.stackTraceLimit;
  Error.stackTraceLimit = 30;
  const lines = new Error().stack!.split('\n').slice(1);
  Error.stackTraceLimit = limit;
  return lines
    .filter((line) => !isOwnFrame(line))
    .slice(0, 8)
    .join('\n');
}
