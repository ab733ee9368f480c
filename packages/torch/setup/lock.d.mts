/** Runs `work` while holding the lock file; waits for a living holder, takes over from a dead one. */
export declare function withLock<T>(path: string, work: () => Promise<T>, onWait?: (owner: number) => void): Promise<T>;
/** Counts a child process to the holder of this process's locks, until the returned function is called. */
export declare function shareLocks(pid: number): () => void;
