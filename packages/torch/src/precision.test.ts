/** Autocast on the CPU and the process-wide switches: what they change, and that they change back. */

import { afterEach, describe, expect, it } from 'vitest';
import * as T from './index.ts';

afterEach(() => {
  T.setFloat32Precision('ieee');
  T.setDeterministic(false);
});

describe('autocast', () => {
  it('runs products in bfloat16 and losses in float32, and gradients come back in the type of the weights', () => {
    T.scope(() => {
      const x = T.tensor([[1 + 2 ** -9, 1]]); // bfloat16 keeps 8 bits: the first entry becomes 1
      const weight = T.tensor([[3, 0]]).requiresGrad_();
      const { product, loss } = T.autocast({ device: 'cpu' }, () => {
        const product = x.matmul(weight.t());
        return { product, loss: T.mseLoss(product, T.zeros([1, 1])) };
      });
      expect([product.dtype, product.item()]).toEqual(['bfloat16', 3]);
      expect([loss.dtype, loss.item()]).toEqual(['float32', 9]);
      loss.backward();
      expect([weight.grad!.dtype, weight.grad!.toNumbers()]).toEqual(['float32', [6, 6]]);
      expect(x.matmul(weight.t()).dtype).toBe('float32');
    });
  });

  it('takes float16, can be switched off inside, and ends after an error', () => {
    T.scope(() => {
      const x = T.ones([2, 2]);
      const dtypes = T.autocast({ device: 'cpu', dtype: 'float16' }, () => [
        x.matmul(x).dtype,
        T.autocast({ device: 'cpu', enabled: false }, () => x.matmul(x).dtype),
        T.autocast({ device: 'cpu' }, () => x.matmul(x).dtype),
        x.matmul(x).dtype,
      ]);
      expect(dtypes).toEqual(['float16', 'float32', 'bfloat16', 'float16']);
      const failing = () =>
        T.autocast({ device: 'cpu' }, () => {
          expect(T.isAutocastEnabled('cpu')).toBe(true);
          throw new Error('mine');
        });
      expect(failing).toThrow('mine');
      expect(T.isAutocastEnabled('cpu')).toBe(false);
      expect(T.isAutocastEnabled('cuda')).toBe(false);
    });
  });

  it('refuses other types, other devices and promises', () => {
    expect(() => T.autocast({ device: 'cpu', dtype: 'float32' as 'float16' }, () => 0)).toThrow(/bfloat16 or float16/);
    expect(() => T.autocast({ device: 'tpu' as 'cpu' }, () => 0)).toThrow(/expected the device cpu or cuda, got "tpu"/);
    expect(() => T.autocast({ device: 'cpu' }, async () => 0)).toThrow(/synchronous/);
    expect(T.isAutocastEnabled('cpu')).toBe(false);
  });
});

describe('switches', () => {
  // libtorch's own default is off for products and on for cuDNN: this reads both.
  it('TF32 is off until it is switched on', () => {
    expect(T.float32Precision()).toBe('ieee');
    T.setFloat32Precision('tf32');
    expect(T.float32Precision()).toBe('tf32');
    T.setFloat32Precision('ieee');
    expect(T.float32Precision()).toBe('ieee');
  });

  it('deterministic algorithms', () => {
    expect(T.isDeterministic()).toBe(false);
    T.setDeterministic(true);
    expect(T.isDeterministic()).toBe(true);
    T.setCudnnBenchmark(false);
    T.setDeterministic(true, { warnOnly: true });
    expect(T.isDeterministic()).toBe(true);
  });
});
