import { describe, expect, it } from 'vitest';
import type { Arguments } from './command.ts';
import { parseStrictly } from './strict-arguments.ts';

const args: Arguments = {
  images: { type: 'positional' },
  'num-steps': { type: 'string', valueHint: 'N' },
  class: { type: 'string', multiple: true },
  reveal: { type: 'boolean' },
  out: { type: 'string', alias: 'o' },
};

const parse = (...words: string[]) => parseStrictly(words, args, 'sample');

describe('parseStrictly', () => {
  it('gives what was given, and nothing else', () => {
    expect(parse('folder')).toEqual({ images: 'folder' });
    expect(parse('--num-steps', '8', 'a b', '--reveal', '-o', 'x')).toEqual({
      images: 'a b',
      numSteps: '8',
      reveal: true,
      out: 'x',
    });
    expect(parse('--num-steps=-1', 'f', '--reveal=false')).toEqual({ images: 'f', numSteps: '-1', reveal: false });
  });

  it('keeps texts as they are, also odd ones', () => {
    expect(parse('--out=', '--', '--num-steps')).toEqual({ out: '', images: '--num-steps' });
    expect(parse('f', '--out', 'a=b')).toEqual({ images: 'f', out: 'a=b' });
    expect(parse('no', '--out', 'true')).toEqual({ images: 'no', out: 'true' });
  });

  it('takes no flag for the value of another', () => {
    expect(() => parse('f', '--out', '--reveal')).toThrow('--out: expected a value after it, got --reveal.');
    expect(() => parse('f', '--num-steps', '--out=x')).toThrow('--num-steps: expected N after it, got --out=x.');
    expect(parse('f', '--out=--reveal', '--num-steps', '-1')).toMatchObject({ out: '--reveal', numSteps: '-1' });
    expect(parse('f', '--out', '--other')).toMatchObject({ out: '--other' });
  });

  it('collects repeated flags where there may be many', () => {
    expect(parse('f', '--class', 'a', '--class=b,c')).toEqual({ images: 'f', class: ['a', 'b,c'] });
    expect(() => parse('f', '--num-steps', '1', '--num-steps', '2')).toThrow('--num-steps was given twice');
  });

  it('names all flags that are missing', () => {
    const needy: Arguments = {
      data: { type: 'string', required: true, valueHint: 'FOLDER' },
      out: { type: 'string', required: true },
    };
    expect(() => parseStrictly([], needy, 'train')).toThrow('train: expected --data FOLDER and --out VALUE.');
    expect(parseStrictly(['--data', 'a', '--out', 'b'], needy, 'train')).toEqual({ data: 'a', out: 'b' });
  });

  it.each([
    [['f', '--num-step', '3'], 'unknown flag --num-step: did you mean --num-steps?'],
    [['f', '--numSteps', '3'], 'did you mean --num-steps?'],
    [['f', '--no-reveal'], 'unknown flag --no-reveal'],
    [['f', '--zzzzzz'], '"tessera sample --help" lists what there is'],
    [['f', '-x'], 'unknown flag -x'],
    [['f', '--num-steps'], '--num-steps: expected N after it'],
    [['f', '--reveal=maybe'], '--reveal: expected no value (or true, false), got "maybe"'],
    [[], 'expected IMAGES: tessera sample IMAGES'],
    [['a', 'b'], 'expected IMAGES, got also "b"'],
    [['f', '--__proto__', 'x'], 'unknown flag --__proto__'],
  ])('refuses %j', (words, message) => {
    expect(() => parse(...words)).toThrow(message);
  });
});

describe('flags of several values', () => {
  const args: Arguments = {
    pair: { type: 'string', values: 2, valueHint: 'A B' },
    names: { type: 'string', multiple: true, values: Number.POSITIVE_INFINITY },
    other: { type: 'string' },
  };

  it('take the words after them, as many as they may', () => {
    expect(parseStrictly(['--pair', '12', '3', '--other', 'x'], args, 'c')).toEqual({ pair: ['12', '3'], other: 'x' });
    expect(parseStrictly(['--pair', '12,3'], args, 'c')).toEqual({ pair: ['12,3'] });
    expect(parseStrictly(['--names', 'a', 'b', '--names', 'c'], args, 'c')).toEqual({ names: ['a', 'b', 'c'] });
  });

  it('leave no word over in silence', () => {
    expect(() => parseStrictly(['--pair', '12', '3', '4'], args, 'c')).toThrow(/expected no argument, got also "4"/);
    expect(() => parseStrictly(['--other', 'x', 'y'], args, 'c')).toThrow(/got also "y"/);
  });
});
