/** Pictures decoded from stored tokens: any layout of data sets, or bare ids [N, L] as `tessera sample --tokens` writes them. */

import { statSync } from 'node:fs';
import { readNpyHeader } from '@tessera/formats';
import { openFile, withFile } from '@tessera/formats/node';
import { fromTypedArray, keep, noGrad, scope, type Tensor } from '@tessera/torch';
import { type IntegerType, integerBytes, isIntegerType, readIntegers } from '../../data/tokens/integers.ts';
import { openStoredTokens } from '../../data/tokens/open-tokens.ts';
import { gridSideOf } from '../../data/tokens/token-rows.ts';
import type { Tokenizer } from '../../tokenizers/tokenizer.ts';
import { PipelineError } from '../events.ts';
import { fingerprintOfTokenizer } from '../tokenize/work-plan.ts';
import { fileIdentity, type ImageSet, sha256 } from './image-set.ts';
import type { Protocol } from './protocols.ts';
import { decodedAtOnce, toBytes } from './reconstructed-set.ts';

interface TokenSource {
  count: number;
  /** L. */
  length: number;
  identity: unknown;
  labels: readonly number[] | undefined;
  classes: readonly string[] | undefined;
  /** [count, L] int64, in the caller's scope. */
  tokens(first: number, count: number): Tensor;
  dispose(): void;
}

const LABELS_AT_ONCE = 4096;

/** Takes over the tokenizer. */
export function openTokenSet(path: string, tokenizer: Tokenizer, protocol: Protocol): ImageSet {
  let source: TokenSource;
  try {
    source = isBareIds(path) ? openBareIds(path, tokenizer.codebookSize) : openRows(path, tokenizer.codebookSize);
  } catch (error) {
    tokenizer.dispose();
    throw error;
  }
  const { count, length, identity, labels, classes } = source;
  const what = JSON.stringify([identity, protocol.rounding]);
  return {
    kind: 'tokens',
    path,
    count,
    fingerprint: sha256(`${what} ${fingerprintOfTokenizer(tokenizer)}`),
    labels,
    classes,
    batch: decodedAtOnce(length * tokenizer.downsampleFactor ** 2),
    async read(first, some) {
      return noGrad(() =>
        scope(() => {
          const images = tokenizer.decode(source.tokens(first, some)).to('cpu');
          return keep(protocol.rounding === 'float' ? images : toBytes(images));
        }),
      );
    },
    dispose: () => {
      source.dispose();
      tokenizer.dispose();
    },
  };
}

function openRows(path: string, codebookSize: number): TokenSource {
  const rows = openStoredTokens(path, { codebookSize });
  try {
    if (rows.codebookSize !== codebookSize) {
      throw new PipelineError(
        'CODEBOOK',
        `${path} has ${rows.codebookSize} codes, the tokenizer ${codebookSize}: they do not belong together.`,
      );
    }
    gridSideOf(rows.seqLen, path); // refuses what is no square grid
    const count = rows.numRows;
    const range = (first: number, some: number): number[] => Array.from({ length: some }, (_, i) => first + i);
    const labels = range(0, Math.ceil(count / LABELS_AT_ONCE)).flatMap((block) => {
      const first = block * LABELS_AT_ONCE;
      const some = range(first, Math.min(LABELS_AT_ONCE, count - first));
      return scope(() => rows.rows(some, undefined).labels.toNumbers());
    });
    return {
      count,
      length: rows.seqLen,
      identity: rows.identity,
      labels,
      classes: rows.classes,
      tokens: (first, some) => rows.rows(range(first, some), undefined).tokens,
      dispose: () => rows.dispose(),
    };
  } catch (error) {
    rows.dispose();
    throw error;
  }
}

/** The length of a row tells it: of labelled rows it is one more than a square. */
function isBareIds(path: string): boolean {
  if (!statSync(path).isFile()) return false;
  const { shape } = withFile(path, readNpyHeader);
  return shape.length === 2 && shape[1]! > 1 && Number.isInteger(Math.sqrt(shape[1]!));
}

function openBareIds(path: string, codebookSize: number): TokenSource {
  const file = openFile(path);
  const { dtype, shape, fortranOrder, bigEndian, dataOffset } = readNpyHeader(file);
  const [count, length] = shape as [number, number];
  if (!isIntegerType(dtype) || fortranOrder || bigEndian || count < 1) {
    file.close();
    throw new PipelineError('TOKENS', `${path}: expected whole numbers [N, L] in C order, got ${dtype} [${shape}].`);
  }
  return {
    count,
    length,
    identity: ['ids', shape, fileIdentity(path)],
    labels: undefined,
    classes: undefined,
    tokens(first, some) {
      const bytes = length * integerBytes(dtype as IntegerType);
      const ids = new Int32Array(some * length);
      readIntegers(file.read(dataOffset + first * bytes, some * bytes), dtype as IntegerType, ids.length, ids, 0);
      const bad = ids.findIndex((id) => id < 0 || id >= codebookSize);
      if (bad === -1) return fromTypedArray(ids, [some, length]).to('int64');
      throw new PipelineError(
        'TOKENS',
        `${path}, image ${first + Math.floor(bad / length)}: expected tokens in 0..${codebookSize - 1}, got ${ids[bad]}: they are another tokenizer's.`,
      );
    },
    dispose: () => file.close(),
  };
}
