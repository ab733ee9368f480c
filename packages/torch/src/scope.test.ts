import { beforeEach, describe, expect, test } from 'vitest';
import { keep, memoryStats, ones, scope, swapTensors, Tensor, TensorError, tensor, zeros } from './index.ts';

let before: number;
beforeEach(() => {
  before = memoryStats().liveTensors;
});
const live = () => memoryStats().liveTensors - before;

function codeOf(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    return error instanceof TensorError ? error.code : String(error);
  }
  return 'no error';
}

describe('scope', () => {
  test('frees what was made inside and hands out what is returned', () => {
    let inner: Tensor | undefined;
    const sum = scope(() => {
      inner = ones([3]);
      return inner.mul(2).add(1);
    });
    expect(live()).toBe(1);
    expect(sum.toNumbers()).toEqual([3, 3, 3]);
    expect(inner!.isLive).toBe(false);
    expect(codeOf(() => inner!.add(1))).toBe('DISPOSED');
    sum.dispose();
    expect(live()).toBe(0);
  });

  test('finds tensors in arrays, maps and plain objects, at any depth and in circles', () => {
    interface Loop {
      x: Tensor;
      self?: Loop;
    }
    const result = scope(() => {
      zeros([9]);
      const loop: Loop = { x: tensor([5]) };
      loop.self = loop;
      return {
        list: [tensor([1]), [tensor([2])]],
        map: new Map([['a', { deep: [tensor([3])] as const }]]),
        bare: Object.assign(Object.create(null), { x: tensor([4]) }) as { x: Tensor },
        loop,
        other: [null, 7, 'text', () => 0, new Date(0)],
      };
    });
    expect(live()).toBe(5);
    const found = [
      result.list[0] as Tensor,
      (result.list[1] as Tensor[])[0]!,
      result.map.get('a')!.deep[0],
      result.bare.x,
      result.loop.self!.x,
    ];
    expect(found.map((x) => x.item())).toEqual([1, 2, 3, 4, 5]);
    for (const x of found) x.dispose();
    expect(live()).toBe(0);
  });

  test('moves what is returned to the scope around it', () => {
    scope(() => {
      const x = scope(() => scope(() => ones([2])).add(1));
      expect(live()).toBe(1);
      expect(x.toNumbers()).toEqual([2, 2]);
    });
    expect(live()).toBe(0);
  });

  test('does not take a tensor of an outer scope with it', () => {
    scope(() => {
      const outer = ones([2]);
      scope(() => outer);
      scope(() => [outer, ones([1])].length);
      expect(outer.isLive).toBe(true);
    });
    expect(live()).toBe(0);
  });

  test('a result that holds disposed or repeated tensors is no problem', () => {
    const [x, gone, again] = scope(() => {
      const x = ones([1]);
      const gone = ones([1]);
      gone.dispose();
      return [x, gone, x];
    });
    expect([x!.isLive, gone!.isLive, again === x]).toEqual([true, false, true]);
    x!.dispose();
    expect(live()).toBe(0);
  });

  test('kept tensors outlive every scope, and views keep their memory', () => {
    const kept = scope(() => scope(() => ({ size: keep(tensor([1, 2, 3]).narrow(0, 1, 2)) })).size);
    expect(live()).toBe(1);
    expect(kept.toNumbers()).toEqual([2, 3]);
    kept.dispose();
    expect(codeOf(() => keep(kept))).toBe('DISPOSED');
    expect(codeOf(() => keep(5 as never))).toBe('TORCH');
  });

  test('ends when its body throws, or what it returned does', () => {
    expect(() =>
      scope(() => {
        ones([2]);
        scope(() => {
          ones([2]);
          throw new RangeError('mine');
        });
      }),
    ).toThrow(new RangeError('mine'));
    const trap = () => ({
      x: ones([2]),
      get bad(): Tensor {
        throw new RangeError('getter');
      },
    });
    expect(() => scope(trap)).toThrow('getter');
    expect(live()).toBe(0);
    // A scope left open would swallow this one.
    const outside = ones([1]);
    scope(() => 0);
    expect(outside.isLive).toBe(true);
    outside.dispose();
  });

  test('refuses a promise and frees what was made', () => {
    expect(codeOf(() => scope(async () => ones([2])))).toBe('SCOPE');
    expect(codeOf(() => scope(() => Object.fromEntries([['then', () => ones([2])]])))).toBe('SCOPE');
    expect(live()).toBe(0);
  });
});

describe('handles', () => {
  test('dispose works once and again, and every use afterwards throws', () => {
    const x = ones([2]);
    x.dispose();
    x.dispose();
    for (const use of [
      () => x.shape,
      () => x.dtype,
      () => x.device,
      () => x.numel,
      () => x.size(0),
      () => x.toBytes(),
      () => x.toTypedArray(),
      () => x.toNumbers(),
      () => x.item(),
      () => x.to('cpu'),
      () => x.to('int64'),
      () => x.channelsLast(),
      () => x.requiresGrad,
      () => x.requiresGrad_(),
      () => x.backward(),
      () => x.grad,
      () => x.neg(),
    ]) {
      expect(codeOf(use), String(use)).toBe('DISPOSED');
    }
    expect(x.isLive).toBe(false);
    expect(x.describe()).toBe('disposed tensor');
    expect(live()).toBe(0);
  });

  test('a stale handle never comes to mean a later tensor, however often its slot is used again', () => {
    const stale: Tensor[] = [];
    const handles = new Set<number>();
    for (let k = 0; k < 20_000; k++) {
      const x = scope(() => zeros([1]));
      handles.add(x.handle);
      if (k % 1000 === 0) stale.push(x);
      x.dispose();
    }
    const current = zeros([1]);
    expect(handles.size).toBe(20_000);
    expect(handles.has(current.handle)).toBe(false);
    // The slots were reused: handles differ in their generation only (24 bits of slot).
    expect(new Set([...handles].map((handle) => handle % 2 ** 24)).size).toBeLessThan(4);
    expect(stale.every((x) => !x.isLive)).toBe(true);
    for (const x of stale) expect(codeOf(() => x.fill_(9))).toBe('DISPOSED');
    for (const x of stale) x.dispose();
    expect(current.item()).toBe(0);
    current.dispose();
  });

  test('made-up handles are refused', () => {
    for (const handle of [-1, 2 ** 24 - 1, 2 ** 52]) {
      expect(codeOf(() => new Tensor(handle).shape)).toBe('DISPOSED');
    }
    for (const handle of [0.5, 1e300, Number.NaN, Number.NEGATIVE_INFINITY, '1' as never]) {
      expect(codeOf(() => new Tensor(handle).shape)).toBe('TORCH');
    }
  });

  test('live bytes count each memory once', () => {
    const start = memoryStats().liveBytes;
    scope(() => {
      const x = zeros([1000]);
      x.view([10, 100]);
      x.add_(1);
      expect(memoryStats().liveBytes - start).toBe(4000);
      x.clone();
      expect(memoryStats().liveBytes - start).toBe(8000);
    });
    expect(memoryStats().liveBytes).toBe(start);
  });
});

describe('swapTensors', () => {
  test('exchanges values, shapes, gradients and lives, whoever refers to them', () => {
    const parameter = tensor([1, 2]).requiresGrad_();
    const holder = { weight: parameter };
    const other = tensor([[3]]);
    scope(() => parameter.sum().backward());
    swapTensors(parameter, other);
    expect([holder.weight.toArray(), holder.weight.requiresGrad]).toEqual([[[3]], false]);
    expect([other.toArray(), other.grad?.toNumbers()]).toEqual([[1, 2], [1, 1]]); // biome-ignore format: one row
    swapTensors(parameter, other);
    other.dispose();
    expect([parameter.toArray(), parameter.requiresGrad, other.isLive]).toEqual([[1, 2], true, false]);
    parameter.dispose();
  });

  test('a scope frees what it made, not what was put in its place', () => {
    const outer = tensor([1]);
    let inner!: Tensor;
    scope(() => {
      inner = tensor([2]);
      swapTensors(outer, inner);
    });
    expect([outer.isLive, inner.toNumbers()]).toEqual([false, [1]]);
    inner.dispose();
  });
});
