// What libtorch says, cut to what a user can act on: one line, without C++ frames, tables of dispatch keys and source
// positions. The whole text stays in the error's `cause`.

/** `message` as one line; a prefix that repeats the name of the operation is dropped. */
export function shortMessage(message: string, operation = ''): string {
  const memory = /you tried to allocate (\d+) bytes/.exec(message);
  if (memory) return `not enough memory for ${memory[1]} bytes`;
  const backend = /^Could not run '\S+' with arguments from the '(\w+)' backend/.exec(message);
  if (backend) return `this libtorch cannot run it on ${backend[1]}`;
  const device = /device type at start of device string: (.*)/.exec(message);
  if (device) return `expected the device "cpu" or "cuda:N", got "${device[1]}"`;
  const line = message
    .split(/\n\n|\nException raised from/)[0]!
    .trim()
    .replace(/\s*\n\s*/g, ' ');
  const prefix = /^(\w[\w.]*)(?:\(\))?: /.exec(line);
  return prefix !== null && bare(prefix[1]!) === bare(operation) ? line.slice(prefix[0].length) : line;
}

/** linalg.inv, linalg_inv and einsum() name the same operations as the table. */
function bare(name: string): string {
  return name.replace(/\W|_/g, '').toLowerCase();
}
