/** What a run was made with: the facts that a stranger needs to repeat it or to explain another result. */

import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { arch, cpus, platform, release, totalmem } from 'node:os';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { cudaDeviceCount, getNumThreads, torchVersion } from '@tessera/torch';

export interface Environment {
  /** ISO 8601, UTC. */
  date: string;
  command: string[];
  tessera: string;
  /** Of the source tree, when run from one. */
  gitCommit?: string;
  node: string;
  torch: string;
  threads: number;
  cudaDevices: number;
  platform: string;
  cpu: string;
  cores: number;
  memoryBytes: number;
}

export function describeEnvironment(): Environment {
  const commit = gitCommit();
  const processors = cpus();
  return {
    date: new Date().toISOString(),
    command: process.argv.slice(1),
    tessera: packageVersion(),
    ...(commit === undefined ? {} : { gitCommit: commit }),
    node: process.versions.node,
    torch: torchVersion(),
    threads: getNumThreads(),
    cudaDevices: cudaDeviceCount(),
    platform: `${platform()} ${release()} ${arch()}`,
    cpu: processors[0]?.model.trim() ?? 'unknown',
    cores: processors.length,
    memoryBytes: totalmem(),
  };
}

function packageVersion(): string {
  const path = fileURLToPath(new URL('../../package.json', import.meta.url));
  return (JSON.parse(readFileSync(path, 'utf8')) as { version: string }).version;
}

function gitCommit(): string | undefined {
  const here = dirname(fileURLToPath(import.meta.url));
  // Installed as a package, the repository around it is the user's.
  if (here.includes('node_modules')) return undefined;
  try {
    const output = execFileSync('git', ['-C', here, 'rev-parse', 'HEAD'], { stdio: ['ignore', 'pipe', 'ignore'] });
    return output.toString().trim();
  } catch {
    return undefined;
  }
}
