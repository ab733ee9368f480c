// What a measurement was made on: what a stranger needs to compare, and nothing that names the machine.

import { cpus, loadavg, platform, totalmem } from 'node:os';
import { getNumThreads, torchVersion } from '@tessera/torch';

export function machine() {
  const processors = cpus();
  return {
    cpu: processors[0]?.model.trim() ?? 'unknown',
    cores: processors.length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    platform: `${platform()} ${process.arch}`,
    node: process.versions.node,
    libtorch: torchVersion(),
    threads: getNumThreads(),
    /** Processes that wanted a core during the last minute, before the measurement began. */
    loadBefore: Number(loadavg()[0].toFixed(1)),
    date: new Date().toISOString().slice(0, 10),
  };
}

export function describeMachine(m) {
  const { cpu, cores, memoryGiB, node, libtorch, threads, loadBefore } = m;
  return `${cpu}, ${cores} cores, ${memoryGiB} GiB; Node ${node}, libtorch ${libtorch}, ${threads} ${threads === 1 ? 'thread' : 'threads'}; load before: ${loadBefore}`;
}
