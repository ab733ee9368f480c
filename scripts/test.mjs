// `npm test`: the set-up, then all stages below in order, each timed and said in a line. Closes with `N passed, N failed`
// over all tests; a stage that is no vitest run counts as one. Exit code 1 when anything failed or nothing ran.
//
//   --all               also the slow stages (npm run test:all)
//   --only NAME[,NAME]  only these stages, slow ones too

import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { seconds } from '../packages/torch/setup/setup-torch.mjs';
import { root, setUpOrSay } from './setup.mjs';

/** Colours only where a person looks. */
const env = process.stdout.isTTY ? process.env : { ...process.env, NO_COLOR: '1', FORCE_COLOR: '0' };
const bin = (...parts) => join(root, 'node_modules', ...parts);
const tsc = bin('typescript', 'bin', 'tsc');

/** Either `run`, commands for node (one passed or failed), or `project`, a project of vitest.config.ts. */
const STAGES = [
  { name: 'format', slow: false, run: [[bin('@biomejs', 'biome', 'bin', 'biome'), 'ci', '.']] },
  {
    name: 'types',
    slow: false,
    run: [
      [tsc, '-b'],
      [tsc, '-p', 'test', '--noEmit'],
    ],
  },
  { name: 'unit', slow: false, project: 'unit' },
  { name: 'parity', slow: false, project: 'parity' },
  { name: 'repo', slow: false, project: 'repo' },
  { name: 'slow', slow: true, project: 'slow' },
];

const stages = chooseStages(process.argv.slice(2));
const counts = { passed: 0, failed: 0 };
const lines = [];

if (await setUpOrSay()) {
  for (const stage of stages) {
    const started = Date.now();
    console.log(`\n── ${stage.name}`);
    const { passed, failed } = stage.project ? await runVitest(stage.project) : await runCommands(stage.run);
    counts.passed += passed;
    counts.failed += failed;
    const result = passed + failed === 0 ? 'no tests' : `${passed} passed, ${failed} failed`;
    lines.push(`${stage.name.padEnd(8)} ${result} (${seconds(started)})`);
    console.log(`── ${lines.at(-1)}`);
  }
} else {
  counts.failed += 1;
}
console.log(`\n${[...lines, `${counts.passed} passed, ${counts.failed} failed`].join('\n')}`);
process.exitCode = counts.failed > 0 || counts.passed === 0 ? 1 : 0;

function chooseStages(args) {
  let all = false;
  let only;
  for (let i = 0; i < args.length; i++) {
    if (args[i] === '--all') all = true;
    else if (args[i] === '--only') only = (args[++i] ?? '').split(',');
    else stop(`unknown argument ${args[i]}; known are --all and --only NAME[,NAME]`);
  }
  const names = STAGES.map(({ name }) => name);
  const unknown = only?.find((name) => !names.includes(name));
  if (unknown !== undefined) stop(`there is no stage "${unknown}"; there are ${names.join(', ')}`);
  return STAGES.filter(({ name, slow }) => (only ? only.includes(name) : all || !slow));
}

function stop(message) {
  console.error(message);
  process.exit(1);
}

async function runCommands(commands) {
  for (const args of commands) {
    if ((await runNode(args)) !== 0) return { passed: 0, failed: 1 };
  }
  return { passed: 1, failed: 0 };
}

/** vitest's own exit code is the last word: an error outside any test must not pass for success. */
async function runVitest(project) {
  const folder = mkdtempSync(join(tmpdir(), 'tessera-test-'));
  const report = join(folder, 'report.json');
  try {
    const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${report}`];
    const code = await runNode([
      bin('vitest', 'vitest.mjs'),
      'run',
      '--project',
      project,
      '--passWithNoTests',
      ...reporters,
    ]);
    if (!existsSync(report)) return { passed: 0, failed: code === 0 ? 0 : 1 };
    const { numPassedTests, numFailedTests, testResults } = JSON.parse(readFileSync(report, 'utf8'));
    const unread = testResults.filter(
      ({ status, assertionResults }) => status === 'failed' && assertionResults.length === 0,
    );
    const failed = numFailedTests + unread.length;
    return { passed: numPassedTests, failed: code !== 0 && failed === 0 ? 1 : failed };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function runNode(args) {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, args, { cwd: root, env, stdio: ['ignore', 'inherit', 'inherit'] });
    child.on('error', () => resolve(1));
    child.on('close', (code) => resolve(code ?? 1));
  });
}
