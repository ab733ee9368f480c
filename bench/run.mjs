// `npm run bench -- NAME`: the measurements behind docs/benchmarks.md. `engine` is what the tensor engine costs, `sample`
// how fast a model folder makes images, `generate` how fast a GPT draws tokens, `tokenize` how fast encoders and decoders
// of tokenizers are, `tokenize-end-to-end` whether the encoder waits for images, `vq-recipe` which recipe trains fit's
// tokenizer best, `distributed` what several processes cost. All print a table, or with --json one JSON object.
//
//   --json       for machines
//   --rounds N   rounds of all cases; the median over rounds is reported (default 7)
//   --threads N  threads of libtorch, in both columns (default: one a core)
//   --tokens N   tokens an image of "generate" (default: all 256)
//   --model X    the model folder or size of "sample" (default: the shipped emoji-32, autonat-l and enat-l);
//                of "tokenize", one of its two tokenizers
//   --images FOLDER, --seconds N   of "vq-recipe", see there

import { existsSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const BENCHES = {
  engine: './engine.mjs',
  sample: './sample.mjs',
  generate: './generate.mjs',
  tokenize: './tokenize.mjs',
  'tokenize-end-to-end': './tokenize-end-to-end.mjs',
  'vq-recipe': './vq-recipe.mjs',
  distributed: './distributed.mjs',
};

/** Exits with one line: this is a command of developers, its errors are wrong arguments. */
function stop(message) {
  process.stderr.write(`bench: ${message}\n`);
  process.exit(1);
}

function readArguments() {
  const options = {
    json: { type: 'boolean' },
    rounds: { type: 'string' },
    threads: { type: 'string' },
    model: { type: 'string' },
    images: { type: 'string' },
    seconds: { type: 'string' },
    tokens: { type: 'string' },
  };
  try {
    return parseArgs({ options, allowPositionals: true });
  } catch (error) {
    return stop(error.message);
  }
}

function count(text, name, fallback) {
  const value = text === undefined ? fallback : Number(text);
  return Number.isInteger(value) && value > 0
    ? value
    : stop(`expected a whole number above 0 for ${name}, got ${text}`);
}

const { values, positionals } = readArguments();
const [name] = positionals;
const file = positionals.length === 1 ? BENCHES[name] : undefined;
if (file === undefined)
  stop(`expected one of ${Object.keys(BENCHES).join(', ')}, got ${positionals.join(' ') || 'nothing'}`);
const built = fileURLToPath(new URL('../packages/tessera/dist/index.js', import.meta.url));
if (!existsSync(built)) stop('the TypeScript is not built yet: run "npm run setup"');

const { bench } = await import(file);
await bench({
  json: values.json === true,
  rounds: count(values.rounds, '--rounds', 7),
  threads: count(values.threads, '--threads', availableParallelism()),
  model: values.model,
  images: values.images,
  seconds: count(values.seconds, '--seconds', 90),
  tokens: values.tokens === undefined ? undefined : count(values.tokens, '--tokens', 0),
});
