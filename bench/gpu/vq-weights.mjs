// The weights of the tokenizer that the part vq measures, for baseline.py: vq.safetensors and vq.json in a folder.
//
//   node bench/gpu/vq-weights.mjs FOLDER

import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { manualSeed, saveSafetensors } from '@tessera/torch';
import { initialise, LlamaGenVq, vqPreset } from 'tessera';

const [folder] = process.argv.slice(2);
mkdirSync(folder, { recursive: true });
manualSeed(1);
const config = vqPreset(process.env.DEVICE === 'cpu' ? 'vq-small' : 'llamagen-vq16');
const vq = initialise((p) => new LlamaGenVq(config, p));
saveSafetensors(join(folder, 'vq.safetensors'), vq.state);
writeFileSync(join(folder, 'vq.json'), JSON.stringify(config));
