// Two "machines": network namespaces with an address each and a cable between them that can be pulled.

import { execFileSync } from 'node:child_process';

export interface TwoHosts {
  readonly addresses: readonly [string, string];
  /** What a command on a host begins with. */
  on(host: 0 | 1): string[];
  cut(): void;
  mend(): void;
  remove(): void;
}

const ip = (...words: string[]) => execFileSync('ip', words, { stdio: ['ignore', 'ignore', 'pipe'] });

/** Prints a line and returns undefined where this machine does not let the test make namespaces. */
export function makeTwoHosts(what: string): TwoHosts | undefined {
  const id = process.pid % 10_000;
  const names = [`tessera${id}a`, `tessera${id}b`] as const;
  const addresses = ['10.99.7.1', '10.99.7.2'] as const;
  const remove = (): void => {
    for (const name of names) {
      try {
        ip('netns', 'delete', name);
      } catch {
        // Was not made.
      }
    }
  };
  try {
    for (const name of names) ip('netns', 'add', name);
    ip('link', 'add', 'cable', 'netns', names[0], 'type', 'veth', 'peer', 'name', 'cable', 'netns', names[1]);
    for (const [i, name] of names.entries()) {
      ip('-n', name, 'address', 'add', `${addresses[i]}/24`, 'dev', 'cable');
      ip('-n', name, 'link', 'set', 'cable', 'up');
      ip('-n', name, 'link', 'set', 'lo', 'up');
    }
  } catch (error) {
    const why = String((error as { stderr?: Buffer }).stderr ?? (error as Error).message).trim();
    process.stdout.write(`not tested: ${what} (no right to make network namespaces: ${why})\n`);
    remove();
    return undefined;
  }
  return {
    addresses,
    on: (host) => ['ip', 'netns', 'exec', names[host]],
    cut: () => void ip('-n', names[1], 'link', 'set', 'cable', 'down'),
    mend: () => void ip('-n', names[1], 'link', 'set', 'cable', 'up'),
    remove,
  };
}
