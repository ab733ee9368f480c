/** What the set-up made: the content of `current.json` in the cache folder. */
export interface Current {
  /** Absolute path of the built addon. */
  readonly addon: string;
  readonly libtorch: Libtorch;
  /** SHA-256 of the native sources that the addon was built from. */
  readonly nativeHash: string;
  /** Names libtorch's version and path, the ABI and the sources: equal key, equal addon. */
  readonly key: string;
}

/** A libtorch that was found or fetched. */
export interface Libtorch {
  /** Folder that holds `include/` and `lib/`. */
  readonly path: string;
  /** For example `2.13.0`. */
  readonly version: string;
  /** Which of the ways gave it, in words. */
  readonly source: string;
  /** Whether it has the CUDA libraries. */
  readonly cuda: boolean;
}

export interface SourceFile {
  readonly path: string;
  readonly bytes: Buffer;
}

export declare const packageFolder: string;
export declare const nativeFolder: string;
export declare function workspaceRoot(from?: string): string | undefined;
export declare function cacheFolder(env?: NodeJS.ProcessEnv, from?: string): string;
export declare function readFolder(folder: string): SourceFile[];
export declare function hashFiles(files: readonly SourceFile[]): string;
export declare function hashNativeSources(folder?: string): string | undefined;
export declare function readCurrent(cache: string, nativeHash?: string): Current | undefined;
export declare function writeCurrent(cache: string, current: Current): void;
export declare function writeAtomically(path: string, text: string): void;
export declare function removeTemporaries(folder: string): void;
