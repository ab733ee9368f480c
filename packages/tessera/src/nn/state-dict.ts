/**
 * Strict loading: a ParameterSource over named tensors that reports every missing, unexpected and misshapen tensor at
 * once, instead of the first.
 */

import { empty, keep, noGrad, scope, type Tensor } from '@tessera/torch';
import { type Module, ParameterBuilder, type ParameterSource } from './module.ts';

export class StateDictError extends Error {
  readonly code = 'STATE_DICT';

  constructor(message: string) {
    super(message);
    this.name = 'StateDictError';
  }
}

/**
 * Constructs a module from named tensors. The values are copied as float32, so the source may be a read-only file
 * mapping or may be disposed afterwards.
 *
 * @param where names the source in errors, such as a file name
 */
export function loadModule<M extends Module>(
  construct: (builder: ParameterBuilder) => M,
  tensors: ReadonlyMap<string, Tensor>,
  where: string,
): M {
  const source = new StateDictSource(tensors);
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
  const missing: string[] = [];
  const misshapen: string[] = [];
  for (const [name, tensor] of module.state) {
    const found = tensors.get(name);
    if (found === undefined) missing.push(name);
    else if (!sameShape(found.shape, tensor.shape)) misshapen.push(shapeProblem(name, tensor.shape, found.shape));
  }
  const unexpected = [...tensors.keys()].filter((name) => !module.state.has(name));
  refuse(where, missing, unexpected, misshapen);
  noGrad(() =>
    scope(() => {
      for (const [name, tensor] of module.state) tensor.copy_(tensors.get(name)!);
    }),
  );
}

class StateDictSource implements ParameterSource {
  private readonly tensors: ReadonlyMap<string, Tensor>;
  private readonly taken = new Set<string>();
  private readonly missing: string[] = [];
  private readonly misshapen: string[] = [];

  constructor(tensors: ReadonlyMap<string, Tensor>) {
    this.tensors = tensors;
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
    return noGrad(() => scope(() => keep(found.detach().to('float32').clone())));
  }

  finish(where: string): void {
    const unexpected = [...this.tensors.keys()].filter((name) => !this.taken.has(name));
    refuse(where, this.missing, unexpected, this.misshapen);
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

/** Throws when any list has an entry. */
function refuse(where: string, missing: string[], unexpected: string[], misshapen: string[]): void {
  const parts = [list('missing', missing), list('unexpected', unexpected), list('of another shape', misshapen)].filter(
    (part) => part !== '',
  );
  if (parts.length > 0) throw new StateDictError(`${where} does not fit this model: ${parts.join('; ')}`);
}

function list(what: string, names: readonly string[]): string {
  if (names.length === 0) return '';
  const shown = names.slice(0, 6).join(', ');
  return `${names.length} ${what} (${shown}${names.length > 6 ? ', …' : ''})`;
}
