export declare const FETCHED_VERSION: string;
export declare const NOTHING_KEPT: string;
export declare function selectLibtorchEntry(name: string): string | undefined;
export declare function fetchedFolder(cache: string): string;
export declare function fetchedSource(folder: string): string | undefined;
/** Unpacks a wheel or libtorch zip into `folder`, whole or not at all; deletes a damaged archive. */
export declare function unpackLibtorch(archive: string, folder: string, source: string): Promise<void>;
export declare function downloadWithPip(
  cache: string,
  env: NodeJS.ProcessEnv,
): Promise<{ archive: string } | { problem: string }>;
export declare function findDownloaded(cache: string): Promise<{ archive: string } | { problem: string }>;
export declare function downloadPinned(
  cache: string,
  progress: (text: string) => void,
): Promise<{ archive: string } | { problem: string }>;
