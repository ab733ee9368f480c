// What makes a folder a usable libtorch: headers, the CPU libraries, and a version that the addon's sources support.
// ATen's C++ interface belongs to one version, so the version is read from the headers that the addon compiles against.

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** Oldest and newest supported minor version of torch 2. */
export const SUPPORTED_MINORS = [11, 14];
export const SUPPORTED = `2.${SUPPORTED_MINORS[0]} to 2.${SUPPORTED_MINORS[1]}`;

/** Newer releases define the numbers in the first file, older ones in the second. */
const VERSION_HEADERS = ['include/torch/headeronly/version.h', 'include/torch/csrc/api/include/torch/version.h'];

/**
 * @param {string} folder
 * @returns {{version: string, cuda: boolean} | {problem: string}}
 */
export function inspectLibtorch(folder) {
  if (!existsSync(folder)) return { problem: `there is no folder ${folder}` };
  let libraries;
  try {
    libraries = readdirSync(join(folder, 'lib'));
  } catch {
    return { problem: `${folder} has no folder lib/` };
  }
  const has = (name) => libraries.some((file) => file === `lib${name}.so` || file === `lib${name}.dylib`);
  const missing = ['torch_cpu', 'c10'].filter((name) => !has(name));
  if (missing.length > 0) return { problem: `${join(folder, 'lib')} lacks lib${missing.join(' and lib')}` };
  if (!existsSync(join(folder, 'include', 'ATen', 'ATen.h')))
    return { problem: `${folder} has no include/ATen/ATen.h` };
  const version = readVersion(folder);
  if (version === undefined) return { problem: `the headers in ${folder} name no version` };
  const [major, minor] = version.split('.').map(Number);
  if (major !== 2 || minor < SUPPORTED_MINORS[0] || minor > SUPPORTED_MINORS[1]) {
    return { problem: `${folder} is torch ${version}; supported is ${SUPPORTED}` };
  }
  return { version, cuda: has('torch_cuda') && has('c10_cuda') };
}

function readVersion(folder) {
  for (const header of VERSION_HEADERS) {
    let text;
    try {
      text = readFileSync(join(folder, header), 'utf8');
    } catch {
      continue;
    }
    const numbers = ['MAJOR', 'MINOR', 'PATCH'].map((part) =>
      text.match(new RegExp(`#define\\s+TORCH_VERSION_${part}\\s+(\\d+)`))?.at(1),
    );
    if (numbers.every((number) => number !== undefined)) return numbers.join('.');
  }
  return undefined;
}
