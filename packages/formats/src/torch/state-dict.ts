/**
 * Walking what a checkpoint holds: down a path of keys, and all tensors under one value by joined name.
 */
import { FormatError } from '../format-error.ts';
import { TorchTensor } from './tensor.ts';
import { describe, kindOf, type TorchNamespace, type TorchValue } from './values.ts';

/** The value under a path of keys, list indices and namespace fields; throws `torch.no-such-path`. */
export function atPath(value: TorchValue, path: readonly (string | number)[]): TorchValue {
  let current = value;
  for (const [depth, key] of path.entries()) {
    const next = children(current)?.get(key);
    if (next === undefined) {
      const known = [...(children(current)?.keys() ?? [])].slice(0, 12).map(String).join(', ');
      const where = path.slice(0, depth).join('.') || 'the top';
      const message = `nothing under "${key}" at ${where} (${describe(current)}${known && `: ${known}`})`;
      throw new FormatError('torch.no-such-path', message, { file: 'checkpoint' });
    }
    current = next;
  }
  return current;
}

/** Of a joined name. A few bytes of a pickle can name one long key thousands of times. */
const LONGEST_NAME = 4096;

/**
 * All tensors under `value` (or under a path inside it), keyed by their path joined with dots, in the order
 * of the file. Other values are skipped.
 */
export function flattenStateDict(value: TorchValue, path: readonly (string | number)[] = []): Map<string, TorchTensor> {
  const tensors = new Map<string, TorchTensor>();
  const visit = (node: TorchValue, name: string): void => {
    if (name.length > LONGEST_NAME) {
      const message = `the keys that lead to a value are longer than ${LONGEST_NAME} characters: "${name.slice(0, 40)}…"`;
      throw new FormatError('torch.name-length', message, { file: 'checkpoint' });
    }
    if (node instanceof TorchTensor) {
      if (tensors.has(name)) {
        const message = `two tensors are both called "${name}" once their keys are joined`;
        throw new FormatError('torch.name-collision', message, { file: 'checkpoint' });
      }
      tensors.set(name, node);
      return;
    }
    for (const [key, child] of children(node) ?? []) visit(child, name === '' ? String(key) : `${name}.${key}`);
  };
  visit(atPath(value, path), '');
  return tensors;
}

function children(value: TorchValue): ReadonlyMap<unknown, TorchValue> | undefined {
  if (value instanceof Map) return value;
  if (Array.isArray(value)) return new Map(value.entries());
  return kindOf(value) === 'namespace' ? (value as TorchNamespace).fields : undefined;
}
