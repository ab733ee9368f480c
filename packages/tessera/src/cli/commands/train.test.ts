import { expect, it } from 'vitest';
import { trainCommand } from './train.ts';

it('names the command that trains a tokenizer, where one is asked for', () => {
  const start = (model: string) => () => trainCommand.start({ model }, { signal: new AbortController().signal });
  expect(start('vq-small')).toThrow(/vq-small is a tokenizer, which tessera train-tokenizer IMAGES --out RUN --model vq-small trains/); // biome-ignore format: one row
  expect(start('enat-nanu')).toThrow(/expected .*enat-nano.*, got "enat-nanu"/);
});

it('promises no default of its own where the model has one', () => {
  const { args } = trainCommand;
  for (const name of ['steps', 'lr', 'weight-decay', 'clip']) {
    expect(args[name]!.description, name).toContain("(default: the model's)");
  }
});
