// What native/c10d*.cpp export. Stores, groups, works and reducers are numbers; a promise never blocks the event loop.

export interface DistributedAddon {
  /** [store, port]; a presence key starts the signs of life. */
  storeOpen(
    host: string,
    port: number,
    isServer: boolean,
    prefix: string,
    timeoutMs: number,
    presenceKey: string | undefined,
    beatMs: number,
  ): Promise<[number, number]>;
  storeSet(store: number, key: string, value: Uint8Array): void;
  storeGet(store: number, key: string): ArrayBuffer | undefined;
  storeAdd(store: number, key: string, amount: number): number;
  storeDelete(store: number, key: string): boolean;
  storeClose(store: number): void;
  /** Blocks for up to windowMs; the empty text stands for no sign of life. */
  rollCall(store: number, keys: readonly string[], windowMs: number): string[];
  groupOpen(
    store: number,
    name: string,
    rank: number,
    size: number,
    timeoutMs: number,
    address: string,
    nccl: boolean,
  ): Promise<number>;
  groupClose(group: number): void;
  groupNote(group: number, text: string): void;
  groupSequence(group: number): number;
  collective(
    kind: string,
    group: number,
    input: number | undefined,
    output: number | undefined,
    reduction: string,
    root: number,
    timeoutMs: number,
    label: string,
  ): number;
  workIsDone(work: number): boolean;
  workWait(work: number): void;
  workWatch(work: number, done: () => void): void;
  distributedClose(): void;
  hasNccl(): boolean;
  reducerOpen(
    group: number,
    parameters: readonly number[],
    bucketBytes: number,
    firstBucketBytes: number,
    findUnused: boolean,
    bucketViews: boolean,
  ): number;
  reducerPrepare(reducer: number, outputs: readonly number[]): void;
  reducerBuckets(reducer: number): number[];
  reducerClose(reducer: number): void;
}
