// Runs a command that prints measure.mjs's lines, and runs it again behind a case that ended it: one that failed on a device
// (exit code 3: a broken recording or a CUDA error stays with its process) or brought the process down. Its lines go on to
// stdout; a case that ended without a word gets one here.
//
//   node bench/gpu/in-turn.mjs COMMAND [ARGUMENT ...]

import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

const [command, ...args] = process.argv.slice(2);
const SPOILT = 3;
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
  if (last === undefined || (code !== SPOILT && open === undefined)) {
    process.exitCode = code ?? 1;
    break;
  }
  close(`the process ended with ${signal ?? code}`);
  from = last + 1;
}

/** Until the command ends: how, and which case it began last. */
function once(from) {
  const child = spawn(command, args, { env: { ...process.env, FROM: String(from) }, stdio: ['inherit', 'pipe', 'inherit'] }); // biome-ignore format: one row
  let last;
  const lines = createInterface({ input: child.stdout });
  lines.on('line', (text) => {
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
    child.on('close', (code, signal) => read.then(() => done({ code, signal, last })));
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
