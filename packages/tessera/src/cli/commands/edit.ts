/** `tessera edit`: parts of a picture made anew. */

import { strictConfig } from '@tessera/schedule';
import { z } from 'zod';
import { strategyNames } from '../../pipelines/choose-strategy.ts';
import { edit } from '../../pipelines/edit.ts';
import { numberList, realNumber, text, wholeNumber } from '../argument-values.ts';
import { defineCommand } from '../command.ts';

/** Four whole numbers, separated by commas. */
const four = text('four numbers')
  .transform((list) => [list])
  .pipe(numberList(4, 4))
  .refine((list) => list.every((value) => Number.isSafeInteger(value)), { error: 'expected whole numbers of pixels' });

export const editCommand = defineCommand({
  name: 'edit',
  summary: 'make parts of a picture anew',
  details:
    'Inpaints a box or a mask, outpaints, changes the class of a region, or varies a picture. The middle square of the picture is ' +
    "edited, at the model's size. Tokens outside of what is made stay equal; with --blend, pixels too.",
  args: {
    'model-folder': { type: 'positional', description: 'a model folder' },
    image: { type: 'positional', description: 'the picture to edit' },
    box: { type: 'string', valueHint: 'X,Y,W,H', description: "inpaint this box, in pixels of the model's picture" },
    mask: { type: 'string', valueHint: 'FILE', description: 'inpaint the light pixels of this image' },
    outpaint: {
      type: 'string',
      valueHint: 'L,T,R,B',
      description: 'shrink the picture and make these margins around it',
    },
    variations: {
      type: 'string',
      valueHint: 'SHARE',
      description: 'make a random share of the tokens anew, such as 0.5',
    },
    class: {
      type: 'string',
      valueHint: 'NAME',
      description: 'class of what is made (default: none, where the model knows that)',
    },
    'num-images': { type: 'string', valueHint: 'N', description: 'results (default 1)' },
    seed: { type: 'string', valueHint: 'N', description: 'what the noise follows from (default 0)' },
    strategy: { type: 'string', valueHint: 'NAME|FILE', description: `${strategyNames.join(', ')}, or a file` },
    'num-steps': { type: 'string', valueHint: 'N', description: 'steps of enat, cosine and halton (default 8)' },
    'guidance-scale': { type: 'string', valueHint: 'S', description: 's in uncond + s (cond - uncond), 1 = off' },
    'choice-temperature': { type: 'string', valueHint: 'T', description: 'noise on the choice of tokens to keep' },
    'sample-temperature': { type: 'string', valueHint: 'T', description: 'divides the logits' },
    blend: { type: 'boolean', description: "keep the original's pixels wherever nothing was asked for" },
    out: { type: 'string', required: true, valueHint: 'FOLDER', description: 'where to write' },
  },
  examples: [
    { command: 'edit MODEL face.png --box 8,8,16,16 --class food --out edited', what: 'another class for a region' },
    { command: 'edit MODEL face.png --mask hole.png --blend --out edited', what: 'the rest keeps its pixels' },
    {
      command: 'edit MODEL face.png --outpaint 8,8,8,8 --num-images 4 --out wider',
      what: 'what lies around it, four times',
    },
    { command: 'edit MODEL face.png --variations 0.5 --num-images 16 --out varied', what: 'pictures like this one' },
  ],
  schema: strictConfig({
    modelFolder: text('a model folder'),
    image: text('a picture'),
    box: four.optional(),
    mask: text('an image').optional(),
    outpaint: four.optional(),
    variations: realNumber(0, 1).optional(),
    class: text('a class').optional(),
    numImages: wholeNumber(1, 100_000).optional(),
    seed: wholeNumber(0).optional(),
    strategy: text('the name of a strategy or a file').optional(),
    numSteps: wholeNumber(1, 65536).optional(),
    guidanceScale: realNumber(-1000, 1000).optional(),
    choiceTemperature: realNumber(0, 1e6).optional(),
    sampleTemperature: realNumber(0, 1e6).optional(),
    blend: z.boolean().optional(),
    out: text('a folder'),
  }),
  run: ({ modelFolder, box, outpaint, ...rest }, { signal }) => {
    const [x, y, width, height] = (box ?? []) as [number, number, number, number];
    const [left, top, right, bottom] = (outpaint ?? []) as [number, number, number, number];
    return edit({
      ...rest,
      model: modelFolder,
      box: box && { x, y, width, height },
      outpaint: outpaint && { left, top, right, bottom },
      signal,
    });
  },
  print: ({ out }) => `Pictures are in ${String(out)}\n`,
});
