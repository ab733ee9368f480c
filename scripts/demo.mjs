// `npm run demo`: the set-up, then `tessera demo` in the same terminal.
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { setUpOrSay } from './setup.mjs';

if (await setUpOrSay()) {
  const bin = fileURLToPath(new URL('../packages/tessera/bin/tessera.js', import.meta.url));
  const root = fileURLToPath(new URL('..', import.meta.url));
  const { status, signal } = spawnSync(process.execPath, [bin, 'demo', ...process.argv.slice(2)], {
    cwd: root,
    stdio: 'inherit',
  });
  process.exitCode = signal === null ? (status ?? 1) : 1;
} else {
  process.exitCode = 1;
}
