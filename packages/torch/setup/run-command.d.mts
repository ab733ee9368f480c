/** Runs a program without a shell; `code` is null when it did not start or was ended by a signal. */
export declare function runCommand(
  program: string,
  args: readonly string[],
  options?: { cwd?: string; env?: NodeJS.ProcessEnv; timeoutMs?: number },
): Promise<{ code: number | null; stdout: string; output: string }>;
export declare function findProgram(name: string, env?: NodeJS.ProcessEnv): string | undefined;
export declare function lastLines(output: string, count?: number): string;
