/**
 * Strict loading: a ParameterSource over named tensors that reports every missing, unexpected and misshapen tensor at
 * once, instead of the first.
 */

import { empty, keep, noGrad, type Tensor } from '@tessera/torch';
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
    if (got.length !== shape.length || got.some((side, i) => side !== shape[i])) {
      this.misshapen.push(`${name}: expected [${shape.join(', ')}], got [${got.join(', ')}]`);
      return placeholder(shape);
    }
    return noGrad(() => keep(found.detach().to('float32').clone()));
  }

  finish(where: string): void {
    const unexpected = [...this.tensors.keys()].filter((name) => !this.taken.has(name));
    const parts = [
      list('missing', this.missing),
      list('unexpected', unexpected),
      list('of another shape', this.misshapen),
    ].filter((part) => part !== '');
    if (parts.length > 0) throw new StateDictError(`${where} does not fit this model: ${parts.join('; ')}`);
  }
}

/** Stands in for a tensor that could not be loaded, so that construction can go on and report everything. */
function placeholder(shape: readonly number[]): Tensor {
  return noGrad(() => keep(empty(shape)));
}

function list(what: string, names: readonly string[]): string {
  if (names.length === 0) return '';
  const shown = names.slice(0, 6).join(', ');
  return `${names.length} ${what} (${shown}${names.length > 6 ? ', …' : ''})`;
}
