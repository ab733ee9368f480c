// Runs a program without a shell (so paths may hold spaces), collects what it prints, and looks programs up on PATH.
// The event loop keeps turning meanwhile: the set-up's lock needs its heartbeat.

import { spawn } from 'node:child_process';
import { accessSync, constants, statSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { shareLocks } from './lock.mjs';

/** How much of a program's output is kept, in characters: enough for the errors at its end. */
const KEPT = 400_000;

/**
 * @param {string} program
 * @param {string[]} args
 * @param {{cwd?: string, env?: NodeJS.ProcessEnv, timeoutMs?: number}} [options]
 * @returns {Promise<{code: number | null, stdout: string, output: string}>} code is null when the program could not be
 *   started or was ended by a signal; output holds stdout and stderr in the order they came
 */
export function runCommand(program, args, options = {}) {
  return new Promise((resolve) => {
    const child = spawn(program, args, {
      cwd: options.cwd,
      env: options.env ?? process.env,
      timeout: options.timeoutMs,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const release = child.pid === undefined ? () => {} : shareLocks(child.pid);
    let stdout = '';
    let output = '';
    child.stdout.setEncoding('utf8').on('data', (text) => {
      stdout = (stdout + text).slice(-KEPT);
      output = (output + text).slice(-KEPT);
    });
    child.stderr.setEncoding('utf8').on('data', (text) => {
      output = (output + text).slice(-KEPT);
    });
    child.on('error', (error) => resolve({ code: null, stdout, output: `${output}${error.message}` }));
    child.on('close', (code, signal) => {
      release();
      resolve({ code, stdout, output: signal ? `${output}\nended by ${signal}` : output });
    });
  });
}

/**
 * @param {string} name
 * @param {NodeJS.ProcessEnv} [env]
 * @returns {string | undefined} path of the executable on PATH
 */
export function findProgram(name, env = process.env) {
  const places = name.includes('/') ? [''] : (env.PATH ?? '').split(delimiter).filter((place) => place !== '');
  for (const place of places) {
    const path = place === '' ? name : join(place, name);
    try {
      accessSync(path, constants.X_OK);
      if (statSync(path).isFile()) return path;
    } catch {
      // not here: look further
    }
  }
  return undefined;
}

/**
 * The last lines of a program's output, for a message.
 * @param {string} output
 * @param {number} [count]
 */
export function lastLines(output, count = 12) {
  return output.trim().split('\n').slice(-count).join('\n');
}
