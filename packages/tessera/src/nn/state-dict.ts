/**
 * Strict loading: a ParameterSource over named tensors that reports every missing, unexpected and misshapen tensor at
 * once, instead of the first, and refuses values that are not finite: a network with one NaN gives nothing else.
 */

import { nearest } from '@tessera/schedule';
import { type Device, empty, keep, noGrad, scope, type Tensor } from '@tessera/torch';
import { networkDevice } from './device.ts';
import { type Module, ParameterBuilder, type ParameterSource } from './module.ts';

export class StateDictError extends Error {
  readonly code = 'STATE_DICT';

  constructor(message: string) {
    super(message);
    this.name = 'StateDictError';
  }
}

/**
 * Constructs a module on this process's device from named tensors. The values are copied as float32, or as `dtype`, so
 * the source may be a read-only file mapping or may be disposed afterwards.
 *
 * @param where names the source in errors, such as a file name
 */
export function loadModule<M extends Module>(
  construct: (builder: ParameterBuilder) => M,
  tensors: ReadonlyMap<string, Tensor>,
  where: string,
  dtype: NetworkDType = 'float32',
): M {
  const source = new StateDictSource(tensors, networkDevice(), dtype);
  const builder = new ParameterBuilder(source);
  let module: M;
  try {
    module = construct(builder);
    source.finish(where);
  } catch (error) {
    for (const tensor of builder.state.values()) tensor.dispose();
    throw error;
  }
  return module;
}

/**
 * Copies named tensors into a module that exists, or into anything with named tensors, as strictly as loadModule.
 *
 * @param where names the source in errors, such as a file name
 */
export function loadInto(module: Pick<Module, 'state'>, tensors: ReadonlyMap<string, Tensor>, where: string): void {
  checkShapes(shapesOf(module.state), shapesOf(tensors), where);
  refuse(where, { ...NO_PROBLEMS, notFinite: [...tensors].filter(([, tensor]) => !allFinite(tensor)).map(([n]) => n) });
  noGrad(() =>
    scope(() => {
      for (const [name, tensor] of module.state) tensor.copy_(tensors.get(name)!);
    }),
  );
}

/** Names and shapes of all tensors of a module, in checkpoint order; nothing is made. */
export function stateShapes(construct: (builder: ParameterBuilder) => Module): Map<string, readonly number[]> {
  const shapes = new Map<string, readonly number[]>();
  const nothing = placeholder([0]);
  construct(
    new ParameterBuilder({
      take: (name, shape) => {
        shapes.set(name, shape);
        return nothing;
      },
    }),
  );
  nothing.dispose();
  return shapes;
}

/** Throws unless both have the same names and shapes; the order does not matter. */
export function checkShapes(expected: Shapes, got: Shapes, where: string): void {
  const names = [...expected.keys()];
  refuse(where, {
    missing: names.filter((name) => !got.has(name)),
    unexpected: [...got.keys()].filter((name) => !expected.has(name)),
    misshapen: names
      .filter((name) => got.has(name) && !sameShape(got.get(name)!, expected.get(name)!))
      .map((name) => shapeProblem(name, expected.get(name)!, got.get(name)!)),
    notFinite: [],
  });
}

/** Shapes by name. */
export type Shapes = ReadonlyMap<string, readonly number[]>;

export function shapesOf(
  tensors: Iterable<readonly [string, { readonly shape: readonly number[] }]>,
): Map<string, readonly number[]> {
  return new Map(Array.from(tensors, ([name, { shape }]) => [name, shape]));
}

/** Types that a network can compute in. */
export type NetworkDType = 'float32' | 'bfloat16';

class StateDictSource implements ParameterSource {
  private readonly tensors: ReadonlyMap<string, Tensor>;
  private readonly device: Device;
  private readonly dtype: NetworkDType;
  private readonly taken = new Set<string>();
  private readonly missing: string[] = [];
  private readonly misshapen: string[] = [];
  private readonly notFinite: string[] = [];

  constructor(tensors: ReadonlyMap<string, Tensor>, device: Device, dtype: NetworkDType) {
    this.tensors = tensors;
    this.device = device;
    this.dtype = dtype;
  }

  take(name: string, shape: readonly number[]): Tensor {
    const found = this.tensors.get(name);
    if (found === undefined) {
      this.missing.push(name);
      return placeholder(shape);
    }
    this.taken.add(name);
    const got = found.shape;
    if (!sameShape(got, shape)) {
      this.misshapen.push(shapeProblem(name, shape, got));
      return placeholder(shape);
    }
    if (!allFinite(found)) this.notFinite.push(name);
    return noGrad(() => scope(() => keep(this.copied(found.detach().to(this.dtype), found))));
  }

  /** Moved, which copies, or copied where it stays. */
  private copied(cast: Tensor, original: Tensor): Tensor {
    if (cast.device !== this.device) return cast.to(this.device);
    return cast.dtype === original.dtype ? cast.clone() : cast;
  }

  finish(where: string): void {
    const unexpected = [...this.tensors.keys()].filter((name) => !this.taken.has(name));
    refuse(where, { missing: this.missing, unexpected, misshapen: this.misshapen, notFinite: this.notFinite });
  }
}

/** Stands in for a tensor that could not be loaded, so that construction can go on and report everything. */
function placeholder(shape: readonly number[]): Tensor {
  return noGrad(() => keep(empty(shape)));
}

function sameShape(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((side, i) => side === b[i]);
}

function shapeProblem(name: string, expected: readonly number[], got: readonly number[]): string {
  return `${name}: expected [${expected.join(', ')}], got [${got.join(', ')}]`;
}

interface Problems {
  missing: readonly string[];
  unexpected: readonly string[];
  misshapen: readonly string[];
  notFinite: readonly string[];
}

const NO_PROBLEMS: Problems = { missing: [], unexpected: [], misshapen: [], notFinite: [] };

/** Throws when any list has an entry. A missing name comes with the unexpected one that it may be. */
function refuse(where: string, { missing, unexpected, misshapen, notFinite }: Problems): void {
  const guessed = missing.map((name, i) => {
    const near = i < MOST_SHOWN ? nearest(name, unexpected) : undefined;
    return near === undefined ? name : `${name}, perhaps the file's ${near}`;
  });
  const parts = [
    list('missing', guessed),
    list('unexpected', unexpected),
    list('of another shape', misshapen),
    list('with NaN or infinite values', notFinite),
  ].filter((part) => part !== '');
  if (parts.length > 0) throw new StateDictError(`${where} does not fit this model: ${parts.join('; ')}`);
}

const MOST_SHOWN = 6;

function list(what: string, names: readonly string[]): string {
  if (names.length === 0) return '';
  const shown = names.slice(0, MOST_SHOWN).join(', ');
  return `${names.length} ${what} (${shown}${names.length > MOST_SHOWN ? ', …' : ''})`;
}

function allFinite(tensor: Tensor): boolean {
  if (!FLOATING.has(tensor.dtype)) return true;
  return noGrad(() => scope(() => tensor.isfinite().all().item() !== 0));
}

const FLOATING: ReadonlySet<string> = new Set(['float64', 'float32', 'float16', 'bfloat16']);
