/** `tessera tokenize`: images to tokens on disk. */

import { strictConfig } from '@tessera/schedule';
import { z } from 'zod';
import { LAYOUTS } from '../../pipelines/tokenize/layouts.ts';
import { parseShare } from '../../pipelines/tokenize/work-share.ts';
import { tokenize } from '../../pipelines/tokenize.ts';
import { oneOf, realNumber, text, wholeNumber } from '../argument-values.ts';
import { defineCommand } from '../command.ts';

export const tokenizeCommand = defineCommand({
  name: 'tokenize',
  summary: 'turn images into tokens',
  details:
    'Each image is cropped to a square as the reference systems do it, encoded and stored as token ids with its label. ' +
    'Images come from class folders (one split at a time) or from tar files (WebDataset, or class folders inside). ' +
    'Labels are places in the sorted list of class names. Images that cannot be read are listed in OUT.broken.jsonl ' +
    'and left out. The same command goes on where it was stopped; with --shard, or under torchrun, several processes ' +
    'share the work, and the last one writes the output.',
  resumable: true,
  args: {
    images: { type: 'positional', required: true, description: 'folder of class folders, of tar files, or a tar file' },
    out: { type: 'string', required: true, valueHint: 'PATH', description: 'what to write: a folder, or FILE.npy' },
    tokenizer: {
      type: 'string',
      required: true,
      valueHint: 'NAME|PATH',
      description: 'maskgit-vqgan, llamagen-vq16, …, or a model folder, a tokenizer folder, an official checkpoint',
    },
    'tokenizer-weights': {
      type: 'string',
      valueHint: 'FILE',
      description: 'weights of a named tokenizer, as published',
    },
    size: {
      type: 'string',
      valueHint: 'PX',
      description: "pixels of a side (default: the model's, else 256, or 8 tokens of a small tokenizer)",
    },
    flip: { type: 'boolean', description: 'store the mirror image too' },
    'ten-crop': { type: 'boolean', description: 'store corners, centre and their mirror images: ten pictures' },
    'crop-range': {
      type: 'string',
      multiple: true,
      valueHint: 'R',
      description: 'of --ten-crop: cut from R times the size (default 1.1); may be given more than once',
    },
    layout: {
      type: 'string',
      valueHint: LAYOUTS.join('|'),
      description: 'shards (default), nat-npy (AutoNAT, ENAT: one file) or llamagen (LlamaGen, NPP: a file an image)',
    },
    'class-names': {
      type: 'string',
      valueHint: 'FILE',
      description: 'a class a line: "FOLDER NAME", or NAME; or imagenet',
    },
    alpha: { type: 'string', valueHint: 'drop|white', description: 'transparency: as Pillow (default), or on white' },
    orientation: {
      type: 'string',
      valueHint: 'ignore|apply',
      description: 'of cameras: as Pillow (default), or upright',
    },
    shard: { type: 'string', valueHint: 'I/N', description: 'do part I (from 0) of N of the work' },
    batch: { type: 'string', valueHint: 'N', description: 'pictures encoded together (default: by their size)' },
    workers: { type: 'string', valueHint: 'N', description: 'threads that decode and crop (default: one a core)' },
  },
  examples: [
    {
      command: 'tokenize photos --tokenizer runs/photos/model --out tokens/photos',
      what: 'with the tokenizer of a model',
    },
    {
      command:
        'tokenize imagenet/train --tokenizer maskgit-vqgan --tokenizer-weights vqgan_jax_strongaug.ckpt --size 256 --flip --layout nat-npy --out train.npy',
      what: "AutoNAT's and ENAT's file",
    },
    {
      command:
        'tokenize imagenet/train --tokenizer llamagen-vq16 --tokenizer-weights vq_ds16_c2i.pt --size 256 --ten-crop --layout llamagen --out code_flip_ten_crop',
      what: "LlamaGen's and NPP's files",
    },
  ],
  schema: strictConfig({
    images: text('a folder of images'),
    out: text('a path'),
    tokenizer: text('a name, a folder or a file'),
    tokenizerWeights: text('a file').optional(),
    size: wholeNumber(8, 4096).optional(),
    flip: z.boolean().optional(),
    tenCrop: z.boolean().optional(),
    cropRange: z.array(realNumber(1, 8)).optional(),
    layout: oneOf(LAYOUTS).optional(),
    classNames: text('a file').optional(),
    alpha: oneOf(['drop', 'white']).optional(),
    orientation: oneOf(['ignore', 'apply']).optional(),
    shard: text('a share I/N').transform(parseShare).optional(),
    batch: wholeNumber(1, 65536).optional(),
    workers: wholeNumber(1, 256).optional(),
  }).superRefine(({ flip, tenCrop }, context) => {
    if (flip !== true || tenCrop !== true) return;
    const message = 'expected one of --flip and --ten-crop, got both: ten-crop has the mirror images already';
    context.addIssue({ code: 'custom', message });
  }),
  run: ({ flip, tenCrop, cropRange, shard, ...options }, { signal }) =>
    tokenize({
      ...options,
      variants: tenCrop === true ? 'ten-crop' : flip === true ? 'flip' : 'plain',
      cropRanges: cropRange,
      share: shard,
      signal,
    }),
});
