/** Unpacks the entries that `select` gives a path (relative to `target`); throws SetupFailure on a damaged or unsafe archive. */
export declare function extractZip(
  archive: string,
  target: string,
  select: (name: string) => string | undefined,
): Promise<{ files: number; bytes: number }>;
export declare function listZip(archive: string): string[];
export declare function crc32(bytes: Uint8Array, start?: number): number;
