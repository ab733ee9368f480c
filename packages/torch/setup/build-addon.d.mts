export declare const ADDON_NAME: string;
export declare function addonKey(
  libtorch: { version: string; path: string; cuda: boolean },
  nativeHash: string,
): string;
export declare function addonPath(cache: string, key: string): string;
export declare function checkBuildTools(env: NodeJS.ProcessEnv): { cmake: string; generator: string };
export declare function buildAddon(
  cache: string,
  libtorch: { version: string; path: string; cuda: boolean },
  env: NodeJS.ProcessEnv,
  options?: { sources?: string; progress?: (text: string) => void },
): Promise<{ addon: string; key: string; nativeHash: string; built: boolean; notes: string[] }>;
export declare function jobs(env: NodeJS.ProcessEnv): number;
