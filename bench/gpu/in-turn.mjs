// Runs a command that prints measure.mjs's lines, and runs it again behind a case that ended it: one that failed on a device
// (exit code 3: a broken recording or a CUDA error stays with its process), brought the process down, or says nothing for
// SILENCE seconds (default 90): a device that hangs must not take the other cases' time. Its lines go on to stdout; a case
// that ended without a word gets one here.
//
//   node bench/gpu/in-turn.mjs COMMAND [ARGUMENT ...]

import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

const [command, ...args] = process.argv.slice(2);
const SPOILT = 3;
const silence = 1000 * Number(process.env.SILENCE ?? 90);
/** The case under way. */
let open;

/** The time is over for the whole group of processes, of which the other one may be told first. */
function end() {
  close('out of time');
  process.exit(143);
}
process.on('SIGTERM', end);

let from = 0;
for (;;) {
  const { code, signal, last } = await once(from);
  if (signal === 'SIGTERM') end();
  if (code === 0) break;
  // A crash behind a case's last word, as a destructor's after a CUDA error, is no reason to leave the others out.
  if (last === undefined || (code !== SPOILT && signal === null && open === undefined)) {
    process.exitCode = code ?? 1;
    break;
  }
  close(
    signal === 'SIGKILL' ? `no word for ${silence / 1000} s, or killed` : `the process ended with ${signal ?? code}`,
  );
  from = last + 1;
}

/** Until the command ends: how, and which case it began last. */
function once(from) {
  const child = spawn(command, args, { env: { ...process.env, FROM: String(from) }, stdio: ['inherit', 'pipe', 'inherit'] }); // biome-ignore format: one row
  let last;
  const hang = setTimeout(() => child.kill('SIGKILL'), silence);
  const lines = createInterface({ input: child.stdout });
  lines.on('line', (text) => {
    hang.refresh();
    const line = parsed(text);
    if (line?.begin === undefined) {
      open = undefined;
      console.log(text);
    } else {
      last = line.begin;
      open = line;
    }
  });
  const read = new Promise((done) => lines.on('close', done));
  return new Promise((done, failed) => {
    child.on('error', failed);
    child.on('close', (code, signal) => {
      clearTimeout(hang);
      read.then(() => done({ code, signal, last }));
    });
  });
}

function close(error) {
  if (open === undefined) return;
  const { begin, ...about } = open;
  console.log(JSON.stringify({ ...about, error }));
  open = undefined;
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
