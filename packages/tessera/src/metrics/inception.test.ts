import { scope, type Tensor, tensor, zeros } from '@tessera/torch';
import { describe, expect, it } from 'vitest';
import { inceptionInput, loadInception, resizeTf1 } from './inception.ts';

describe('the input of Inception', () => {
  it('resizes as TensorFlow 1: output pixel i reads at i · in / out, beyond the last pixel the last one', () =>
    scope(() => {
      const row = (values: number[]): Tensor => tensor([[[values]]]).expand([1, 1, values.length, values.length]);
      expect(
        resizeTf1(row([0, 10]), 4)
          .at(0, 0, 0)
          .toNumbers(),
      ).toEqual([0, 5, 10, 10]);
      expect(
        resizeTf1(row([0, 1, 2, 3, 4, 5]), 3)
          .at(0, 0, 0)
          .toNumbers(),
      ).toEqual([0, 2, 4]);
      const column = tensor([
        [
          [
            [0, 0],
            [8, 8],
          ],
        ],
      ]);
      expect(resizeTf1(column, 4).at(0, 0).select(1, 1).toNumbers()).toEqual([0, 4, 8, 8]);
    }));

  it('has the range of its convention, from bytes and from numbers in [0, 1] alike', () =>
    scope(() => {
      const bytes = tensor(
        [
          [
            [
              [0, 128, 255],
              [0, 128, 255],
            ],
            [
              [0, 128, 255],
              [0, 128, 255],
            ],
          ],
        ],
        'uint8',
      ); // [1, 2, 2, 3]
      const unit = bytes.to('float32').div(255).permute([0, 3, 1, 2]);
      const corner = (x: Tensor): number[] => x.at(0, ':', 0, 0).toNumbers();
      expect(corner(inceptionInput(bytes, 'tf1'))).toEqual([-1, 0, 127 / 128]);
      expect(corner(inceptionInput(bytes, 'pytorch-fid'))).toEqual([-1, expect.closeTo(1 / 255, 6), 1]);
      for (const input of ['tf1', 'pytorch-fid'] as const) {
        expect(inceptionInput(unit, input).sub(inceptionInput(bytes, input)).abs().max().item()).toBeLessThan(1e-5);
        expect(inceptionInput(bytes, input).shape).toEqual([1, 3, 299, 299]);
      }
    }));

  it('refuses weights of other networks', () =>
    scope(() => {
      expect(() => loadInception(new Map([['fc.weight', zeros([1])]]), 'x.pth')).toThrow(
        /x\.pth: expected pytorch-fid's/,
      );
    }));
});
