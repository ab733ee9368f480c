// Makes emoji-32 again, from nothing: renders the images, repeats the plan, stores the result in half precision.
//
//   node packages/models-emoji/make.mjs [--new-plan MINUTES]
//
// The plan holds every setting and the number of steps. With --new-plan a fresh one is made for that many minutes.
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { openModelFolder, renderEmoji, writeModelFolder } from 'tessera';

const here = fileURLToPath(new URL('.', import.meta.url));
const root = join(here, '../..');
const target = join(here, 'emoji-32');
const images = join(root, 'runs/emoji-32-images');
const run = join(root, 'runs/emoji-32');

const minutes = process.argv[2] === '--new-plan' ? Number(process.argv[3]) : undefined;
await renderEmoji({ out: images, size: 32 });
const plan = minutes === undefined ? ['--plan', join(here, 'emoji-32.plan.json')] : ['--minutes', String(minutes)];
const words = ['fit', images, '--out', run, '--size', '32', '--tokenizer', 'train', ...plan];
const { status } = spawnSync(process.execPath, [join(root, 'packages/tessera/bin/tessera.js'), ...words], {
  stdio: 'inherit',
});
if (status !== 0) process.exit(status ?? 1);

const model = openModelFolder(join(run, 'model'));
writeModelFolder(target, { ...model, card: readFileSync(join(here, 'emoji-32.card.md'), 'utf8'), dtype: 'float16' });
model.dispose();
