import { exponentialNoise, manualSeed, rand, randn, scope, setNumThreads, type Tensor, tensor } from '@tessera/torch';
import { expect, test } from 'vitest';
import { drawCodes, type GuidedLogits, guide } from './draw-codes.ts';

test('guidance 1 is the conditional prediction, 0 the unconditional one', () => {
  scope(() => {
    const [cond, uncond] = [tensor([2, -1]), tensor([1, 1])];
    expect(guide({ cond, uncond, guidanceScale: 1 }).toNumbers()).toEqual([2, -1]);
    expect(guide({ cond, uncond, guidanceScale: 0 }).toNumbers()).toEqual([1, 1]);
    expect(guide({ cond, uncond, guidanceScale: 3 }).toNumbers()).toEqual([4, -5]);
  });
});

/** The same in float64 operations, from float32 logits. */
function expected({ cond, uncond, guidanceScale = 1 }: GuidedLogits, temperature: number, exponential: Tensor) {
  const wide = (x: Tensor) => x.to('float64');
  const logits =
    uncond === undefined
      ? wide(cond)
      : wide(cond).add(
          wide(cond)
            .sub(wide(uncond))
            .mul(guidanceScale - 1),
        );
  const log = logits.logSoftmax(-1);
  const codes = log.div(temperature).softmax(-1).div(wide(exponential)).argmax(-1);
  return { codes: codes.toNumbers(), log: log.gather(-1, codes.unsqueeze(-1)).flatten().toNumbers() };
}

const cases: [codes: number, guidanceScale: number | undefined, temperature: number][] = [
  [1024, 3.5, 0.8],
  [1024, undefined, 1],
  [37, 1.25, 2.5],
  [8, 0.5, 0.05],
  [1, undefined, 1],
];

test.each(cases)(
  '%i codes, guidance %s, temperature %f: the codes and log-probabilities of the formula',
  (...given) => {
    const [numCodes, guidanceScale, temperature] = given;
    scope(() => {
      manualSeed(numCodes);
      const [batch, count] = [3, 50];
      const images = tensor([0, 7, 2 ** 32 - 1], 'int64');
      const positions = rand([batch, count]).mul(1000).to('int64');
      const key = { seed: 2 ** 40 + 9, step: 3 };
      const exponential = exponentialNoise(images, positions, numCodes, key);
      const cond = randn([batch, count, numCodes]).mul(3);
      // One unconditional row for all samples, as the first step has it.
      const uncond = guidanceScale === undefined ? undefined : randn([1, count, numCodes]).expand([batch, -1, -1]);
      const logits = { cond, uncond, ...(guidanceScale === undefined ? {} : { guidanceScale }) };
      const right = expected(logits, temperature, exponential);
      for (const noise of [exponential, { images, positions, ...key }]) {
        const { codes, logProbabilities } = drawCodes(logits, temperature, noise);
        expect(codes.shape).toEqual([batch, count]);
        expect(codes.toNumbers()).toEqual(right.codes);
        for (const [i, log] of logProbabilities.toNumbers().entries()) expect(log).toBeCloseTo(right.log[i]!, 4);
      }
    });
  },
);

test('equal logits draw the code of the least noise, whatever its place', () => {
  scope(() => {
    const [images, positions] = [tensor([5], 'int64'), tensor([Array.from({ length: 2000 }, (_, i) => i)], 'int64')];
    const address = { images, positions, seed: 1, step: 0 };
    const exponential = exponentialNoise(images, positions, 100, address);
    const { codes } = drawCodes({ cond: exponential.zerosLike() }, 1, address);
    expect(codes.toNumbers()).toEqual(exponential.argmin(-1).toNumbers());
  });
});

test('forbidden codes are never drawn; a row is the same in any batch and with any number of threads', () => {
  scope(() => {
    manualSeed(1);
    const cond = randn([4, 300, 48]);
    const forbidden = cond.narrow(-1, 0, 40).fill_(Number.NEGATIVE_INFINITY);
    expect(forbidden.size(-1)).toBe(40);
    const images = tensor([0, 1, 2, 3], 'int64');
    const positions = tensor(
      Array.from({ length: 300 }, (_, i) => i),
      'int64',
    )
      .unsqueeze(0)
      .expand([4, -1]);
    const whole = drawCodes({ cond }, 1, { images, positions, seed: 3, step: 1 });
    expect(Math.min(...whole.codes.toNumbers())).toBeGreaterThanOrEqual(40);
    setNumThreads(2);
    for (const image of [0, 3]) {
      const own = drawCodes({ cond: cond.narrow(0, image, 1) }, 1, {
        images: images.narrow(0, image, 1),
        positions: positions.narrow(0, 0, 1),
        seed: 3,
        step: 1,
      });
      expect(own.codes.toNumbers()).toEqual(whole.codes.narrow(0, image, 1).flatten().toNumbers());
      expect(own.logProbabilities.toBytes()).toEqual(whole.logProbabilities.narrow(0, image, 1).toBytes());
    }
    setNumThreads(1);
  });
});

test('noise and positions of other shapes are refused', () => {
  scope(() => {
    const cond = randn([2, 3, 5]);
    const images = tensor([0, 1], 'int64');
    expect(() => drawCodes({ cond }, 1, randn([2, 3, 4]))).toThrow(/one shape/);
    expect(() => drawCodes({ cond, uncond: randn([1, 3, 5]) }, 1, cond.exp())).toThrow(/one shape/);
    const positions = tensor([[0, 1]], 'int64').expand([2, -1]);
    expect(() => drawCodes({ cond }, 1, { images, positions, seed: 0, step: 0 })).toThrow(/positions/);
  });
});
