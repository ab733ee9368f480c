import { describe, expect, test } from 'vitest';
import { bytesReader } from '../byte-reader.ts';
import { codeOf, expectDamageSurvived } from '../hostile.test-support.ts';
import { withPython } from '../python.test-support.ts';
import { readTorchCheckpoint } from './checkpoint.ts';
import {
  bytesOfPieces,
  globalName,
  type Piece,
  pickled,
  protocol2,
  u32,
  u64,
  zipCheckpoint,
} from './forge.test-support.ts';

/** The value of opcodes, read as a checkpoint without tensors. */
const run = (...opcodes: Piece[]) => readTorchCheckpoint(bytesReader(zipCheckpoint([...opcodes, '.'])));

test.each([
  ['None and booleans', ['(N\x88\x89t'], [null, true, false]],
  [
    'whole numbers of all widths',
    ['(K\xffM\xff\xffJ', u32(-5), '\x8a\x00\x8a\x01\x80\x8a\x02\x00\x80t'],
    [255, 65535, -5, 0, -128, -32768],
  ],
  ['whole numbers above 2^53', ['\x8a\x09', u64(1), '\x01'], 2n ** 64n + 1n],
  ['LONG4', ['\x8b', u32(3), '\x01\x00\x01'], 65537],
  [
    'numbers as text',
    ['(I-7\nI01\nI00\nL123L\nL9007199254740993L\nF1.5e3\nF-inf\nt'],
    [-7, true, false, 123, 9007199254740993n, 1500, -Infinity],
  ],
  ['texts with escapes of protocol 0', ['V\\u0041\\U0001f600\\n\\\n'], 'A😀\\n\\'],
  ['BINFLOAT', ['G?\xf8\x00\x00\x00\x00\x00\x00'], 1.5],
  [
    'texts',
    ["(S'abc'\nVdef\nU\x02ghT", u32(1), 'i\x8c\x01j\x8d', u64(1), 'kX', u32(2), '\xc3\xa9t'],
    ['abc', 'def', 'gh', 'i', 'j', 'k', 'é'],
  ],
  [
    'bytes',
    ['(C\x01aB', u32(1), 'b\x8e', u64(1), 'c\x96', u64(1), 'dt'],
    [97, 98, 99, 100].map((byte) => Uint8Array.of(byte)),
  ],
  [
    'containers',
    ['(](K\x01K\x02eK\x03a)K\x01\x85K\x01K\x02\x86K\x01K\x02K\x03\x87t'],
    [[1, 2, 3], [], [1], [1, 2], [1, 2, 3]],
  ],
  ['LIST, DICT', ['((K\x01l(K\x05K\x06dt'], [[1], new Map([[5, 6]])]],
  ['SETITEM and SETITEMS', ['}K\x01K\x02s(K\x03K\x04K\x05K\x06u'], new Map([[1, 2], [3, 4], [5, 6]])], // biome-ignore format: pairs
  ['sets', ['(\x8f(K\x01K\x01K\x02\x90(K\x07\x91t'], [new Set([1, 2]), new Set([7])]],
  ['memo', ['(]q\x05K\x01ah\x05r', u32(300), 'j', u32(300), 'p9\ng9\nt'], [[1], [1], [1], [1]]],
  ['memoize and frames', ['\x80\x04\x95', u64(4), ']\x94h\x000'], []],
  ['POP, POP_MARK, DUP', ['(K\x010(K\x02K\x031K\x042t'], [4, 4]],
  [
    'OrderedDict with attributes',
    [globalName('collections.OrderedDict'), ')R', pickled('a'), 'K\x01s}', pickled('_m'), 'Nsb'],
    new Map([['a', 1]]),
  ],
  ['OrderedDict of pairs', [globalName('collections.OrderedDict'), '(](](K\x01K\x02eetR'], new Map([[1, 2]])],
  [
    'bytes of protocol 2',
    [globalName('_codecs.encode'), '(X', u32(2), '\xc3\xbfX', u32(6), 'latin1tR'],
    Uint8Array.of(255),
  ],
  ['set of protocol 2', [globalName('__builtin__.set'), '(](K\x01K\x02etR'], new Set([1, 2])],
  [
    'numpy scalars',
    [
      globalName('numpy.core.multiarray.scalar'),
      '(',
      globalName('numpy.dtype'),
      '(',
      pickled('i2'),
      '\x89\x88tR(K\x03',
      pickled('>'),
      'NNNJ',
      u32(-1),
      'J',
      u32(-1),
      'K\x00tbC\x02\x01\x02tR',
    ],
    258,
  ],
] as [string, Piece[], unknown][])('%s', (_, opcodes, value) => {
  // biome-ignore format: table
  expect(run(...opcodes)).toEqual(value);
});

describe('each rule has its code', () => {
  const deep = (count: number) => ['K\x01', '\x85'.repeat(count)];
  /** Forty lists, each holding the one before twice: 2^40 values on a full walk. */
  const laughs = [
    ']q\x00K\x01a0',
    Array.from({ length: 40 }, (_, i) => [
      '](',
      `h${String.fromCharCode(i)}`.repeat(2),
      `eq${String.fromCharCode(i + 1)}0`,
    ]),
    `h${String.fromCharCode(40)}`,
  ];
  test.each([
    ['unknown-global', [globalName('os.system'), '(', pickled('echo'), 'tR']],
    ['unknown-global', [globalName('builtins.eval'), '0N']],
    ['unknown-global', [pickled('torch.nn'), pickled('Linear'), '\x93']],
    ['unknown-global', [globalName('torch.hasOwnProperty')]],
    ['unknown-global', [globalName('torch.__proto__')]],
    ['unknown-global', [globalName('argparse.ArgumentParser')]],
    ['not-callable', [globalName('torch.FloatStorage'), ')R']],
    ['not-data', [globalName('torch.FloatStorage')]],
    ['not-data', [globalName('collections.OrderedDict')]],
    ['type', ['K\x01)R']],
    ['type', [globalName('torch.float32'), ')R']],
    ['build', ['](K\x01K\x02eK\x01b']],
    ['build', [globalName('argparse.Namespace'), ')\x81K\x01b']],
    ['opcode', ['\xff']],
    ['opcode', ['iargparse\nNamespace\n']],
    ['opcode', ['Pkey\n']],
    ['protocol', ['\x80\x06N']],
    ['persistent-id', ['K\x01Q']],
    ['persistent-id', ['(K\x01tQ']],
    ['stack', ['']],
    ['stack', ['NN']],
    ['stack', ['(N']],
    ['stack', ['t']],
    ['stack', ['K\x01(\x86']],
    ['stack', ['}(K\x01u']],
    ['type', ['NNa']],
    ['type', ['NK\x01K\x02s']],
    ['memo', ['h\x00']],
    ['memo', ['gx\n']],
    ['key', ['}]Ns']],
    ['key', ['\x8f(]\x90']],
    ['integer', ['I1.5\n']],
    ['integer', ['\x8b', u32(0x7fffffff)]],
    ['integer', ['\x8b', u32(-1)]],
    ['float', ['Fx\n']],
    ['text', ['X', u32(1), '\xff']],
    ['text', ['Sabc\n']],
    ['text', ['T', u32(-1)]],
    ['truncated', ['X', u32(0xffffffff)]],
    ['truncated', ['B', u32(1000)]],
    ['truncated', ['\x8e', new Uint8Array(8).fill(255)]],
    ['line-too-long', ['V', 'a'.repeat(5000), '\n']],
    ['cycle', [']q\x00h\x00a']],
    ['cycle', ['}q\x00K\x01]h\x00as']],
    ['too-deep', deep(200)],
    ['too-deep', deep(1_000_000)],
    ['too-large', laughs],
    ['budget', [']0'.repeat(2_000_000), 'N']],
    ['budget', [']q\x00(', 'K\x01'.repeat(500_000), 'e0', Array.from({ length: 100 }, () => [globalName('torch.Size'), '(h\x00tR0']), 'N']],
    ['budget', ['X', u32(1 << 20), 'a'.repeat(1 << 20), 'q\x000', Array.from({ length: 300 }, () => [globalName('_codecs.encode'), '(h\x00X', u32(6), 'latin1tR0']), 'N']],
  ] as [string, Piece[]][])('%s (%#)', (rule, opcodes) => expect(codeOf(() => run(...opcodes))).toBe(`pickle.${rule}`)); // biome-ignore format: table
});

test('an unknown global is named with its place', () => {
  expect(() => run('NN', globalName('os.system'))).toThrow('bytes:x/data.pkl, byte 2: the file names os.system');
});

test('damaged pickles are read or refused', () => {
  const pickle = bytesOfPieces(protocol2(new Map<unknown, unknown>([['a', [1, 2.5, 'x', null, 2n ** 60n]], [7, new Map([['b', [true]]])]]))); // biome-ignore format: pairs
  expectDamageSurvived(pickle, (damaged) => readTorchCheckpoint(bytesReader(zipCheckpoint([damaged]))), 3000);
});

test("Python's own pickles of all protocols", () => {
  withPython(['numpy'], (python) => {
    const printed = python.run(`
import pickle, collections, argparse, numpy
space = argparse.Namespace(a=1, b=[None, 'x'])
value = {'od': collections.OrderedDict(x=1), 'ns': space, 'same': space, 'set': {1}, 'frozen': frozenset([2]), 'bytes': b'\\x00\\xff', 'none': b'',
  'big': -2**80, 'neg': -1, 'float': 1e-300, 'text': 'é漢', 'np': [numpy.float64(1.5), numpy.int64(-3), numpy.bool_(True), numpy.uint64(2**63)],
  'tuple': ((), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4))}
for protocol in (2, 3, 4, 5):
    print(pickle.dumps(value, protocol).hex())
`);
    for (const hex of printed.trim().split('\n')) {
      const value = readTorchCheckpoint(bytesReader(zipCheckpoint([Uint8Array.from(Buffer.from(hex, 'hex'))])));
      const fields = new Map<string, unknown>([['a', 1], ['b', [null, 'x']]]); // biome-ignore format: pairs
      expect(Object.fromEntries(value as Map<string, unknown>)).toEqual({
        od: new Map([['x', 1]]),
        ns: { kind: 'namespace', fields },
        same: { kind: 'namespace', fields },
        set: new Set([1]),
        frozen: new Set([2]),
        bytes: Uint8Array.of(0, 255),
        none: new Uint8Array(0),
        big: -(2n ** 80n),
        neg: -1,
        float: 1e-300,
        text: 'é漢',
        np: [1.5, -3, true, 2n ** 63n],
        tuple: [[], [1], [1, 2], [1, 2, 3], [1, 2, 3, 4]],
      });
    }
  });
});
