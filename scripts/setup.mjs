// `npm run setup`: everything between a fresh clone and a working project. npm packages, libtorch, the native addon, the
// TypeScript build; each step skipped when already done, each said in one line with its time. Node's built-in modules
// only. What is missing is said in one message, with exit code 1; the next run goes on from there.

import { existsSync, readdirSync, realpathSync, statSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { withLock } from '../packages/torch/setup/lock.mjs';
import { findProgram, lastLines, runCommand } from '../packages/torch/setup/run-command.mjs';
import { SetupFailure } from '../packages/torch/setup/setup-failure.mjs';
import { seconds, setupTorch } from '../packages/torch/setup/setup-torch.mjs';

export const root = resolve(dirname(fileURLToPath(import.meta.url)), '..');
const OLDEST_NODE = [20, 9];

const STEPS = [
  { name: 'npm packages', run: installPackages },
  { name: 'engine', run: ({ log, progress }) => setupTorch({ log, progress }) },
  { name: 'TypeScript', run: compileTypeScript },
];

/**
 * @param {{log: (line: string) => void, progress?: (text: string) => void}} options
 */
export async function setUpWorkspace({ log, progress = () => {} }) {
  checkNode();
  await withLock(
    join(root, '.cache', 'workspace.lock'),
    async () => {
      for (const { name, run } of STEPS) {
        progress(name);
        await run({ log, progress });
      }
    },
    (pid) => log(`waiting for another set-up (process ${pid})`),
  );
}

function checkNode() {
  const [major, minor] = process.versions.node.split('.').map(Number);
  if (major > OLDEST_NODE[0] || (major === OLDEST_NODE[0] && minor >= OLDEST_NODE[1])) return;
  throw new SetupFailure(
    'NODE_TOO_OLD',
    `Node ${OLDEST_NODE.join('.')} or newer is needed; this is ${process.versions.node}.`,
  );
}

/** npm writes node_modules/.package-lock.json last: an interrupted installation has none. */
async function installPackages({ log }) {
  const started = Date.now();
  const stamp = join(root, 'node_modules', '.package-lock.json');
  if (existsSync(stamp) && statSync(stamp).mtimeMs >= statSync(join(root, 'package-lock.json')).mtimeMs) {
    log(`npm packages: already there (${seconds(started)})`);
    return;
  }
  const { program, first } = npm();
  const options = ['--prefer-offline', '--no-audit', '--no-fund'];
  const { code, output } = await runCommand(program, [...first, 'ci', ...options], { cwd: root });
  if (code !== 0 || !existsSync(stamp)) {
    throw new SetupFailure(
      'NPM_FAILED',
      `"npm ci" failed; the npm registry must be within reach the first time:\n${lastLines(errorLines(output))}`,
    );
  }
  log(`npm packages: installed (${seconds(started)})`);
}

/** The npm that started this script, or the one on PATH. */
function npm() {
  const script = process.env.npm_execpath;
  if (script?.endsWith('npm-cli.js') && existsSync(script)) return { program: process.execPath, first: [script] };
  const program = findProgram('npm');
  if (program === undefined)
    throw new SetupFailure('NPM_MISSING', 'npm is needed and not on PATH; it comes with Node.');
  return { program, first: [] };
}

function errorLines(output) {
  const lines = output.split('\n').filter((line) => line.startsWith('npm error'));
  return lines.length > 0 ? lines.slice(0, 12).join('\n') : output;
}

async function compileTypeScript({ log }) {
  const started = Date.now();
  const tsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc');
  const { code, output } = await runCommand(
    process.execPath,
    [tsc, '-b', '--verbose', ...(hasAllBuilds() ? [] : ['--force'])],
    { cwd: root },
  );
  if (code !== 0) {
    const errors = output.split('\n').filter((line) => /error TS\d+/.test(line));
    throw new SetupFailure(
      'TYPESCRIPT_FAILED',
      `The TypeScript build failed:\n${(errors.length > 0 ? errors : output.split('\n')).slice(0, 12).join('\n')}`,
    );
  }
  log(`TypeScript: ${/Building project/.test(output) ? 'built' : 'already built'} (${seconds(started)})`);
}

/** tsc looks at its build records only, and would not notice that a dist folder was deleted. */
function hasAllBuilds() {
  const packages = readdirSync(join(root, 'packages')).map((name) => join(root, 'packages', name));
  const built = packages.filter(
    (folder) => existsSync(join(folder, 'tsconfig.json')) && existsSync(join(folder, 'src', 'index.ts')),
  );
  return built.every((folder) => existsSync(join(folder, 'dist', 'index.js')));
}

/** Prints the steps' lines; on a terminal also what is being done just now. */
export function terminalOutput(stream = process.stdout) {
  const clear = () => stream.isTTY && stream.write('\r\u001b[K');
  return {
    log: (line) => {
      clear();
      stream.write(`${line}\n`);
    },
    progress: (text) => {
      clear();
      if (stream.isTTY) stream.write(`${text} …`.slice(0, (stream.columns ?? 80) - 1));
    },
    clear,
  };
}

/**
 * Runs the set-up for a script; a failure is one message and exit code 1.
 * @returns {Promise<boolean>} whether it succeeded
 */
export async function setUpOrSay() {
  const output = terminalOutput();
  const started = Date.now();
  try {
    await setUpWorkspace(output);
    output.log(`Set up (${seconds(started)}).`);
    return true;
  } catch (error) {
    output.clear();
    if (!(error instanceof SetupFailure)) throw error;
    process.stderr.write(`Set-up stopped: ${error.message}\n`);
    process.exitCode = 1;
    return false;
  }
}

if (process.argv[1] !== undefined && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url))
  await setUpOrSay();
