/**
 * The last gate of the pickle reader: what comes out is a finite tree of plain data.
 *
 * A pickle can hold a list inside itself, a nest a million deep, or a "billion laughs" (lists that name
 * the list before twice: small in memory, endless for whoever walks it). Anyone may walk what this lets
 * through by plain recursion. Works without recursion itself.
 */
import { TorchStorage, TorchTensor } from './tensor.ts';
import { describe, isKey, kindOf, type PickleValue, type TorchNamespace, type TorchValue } from './values.ts';

const DEEPEST = 128;
/** Values met on a full walk, shared ones counted each time. */
const MOST_VISITS = 10_000_000;

interface Extent {
  readonly visits: number;
  readonly depth: number;
}

const LEAF: Extent = { visits: 1, depth: 0 };

interface Frame {
  readonly node: object;
  readonly children: readonly PickleValue[];
  next: number;
  visits: number;
}

/** Returns the value as `TorchValue`; `fail` throws. */
export function checkValue(value: PickleValue, fail: (rule: string, message: string) => never): TorchValue {
  const visitsOf = new Map<object, Extent>();
  const open = new Set<object>();
  const path: Frame[] = [];
  const depths: number[] = [];
  const enter = (node: PickleValue): void => {
    const children = childrenOf(node, fail);
    const known = children === null ? LEAF : visitsOf.get(node as object);
    if (children === null || known) {
      addVisits(known!);
      return;
    }
    if (open.has(node as object)) fail('cycle', 'a list or dict contains itself');
    if (path.length >= DEEPEST) fail('too-deep', `containers are nested more than ${DEEPEST} deep`);
    open.add(node as object);
    path.push({ node: node as object, children, next: 0, visits: 1 });
    depths.push(0);
  };
  const addVisits = ({ visits, depth }: Extent): void => {
    const parent = path.at(-1);
    if (!parent) return;
    parent.visits += visits;
    depths[depths.length - 1] = Math.max(depths.at(-1)!, depth + 1);
    if (parent.visits > MOST_VISITS) fail('too-large', 'containers that share each other unfold without bound');
    if (path.length + depth > DEEPEST) fail('too-deep', `containers are nested more than ${DEEPEST} deep`);
  };
  enter(value);
  while (path.length > 0) {
    const frame = path.at(-1)!;
    if (frame.next < frame.children.length) {
      enter(frame.children[frame.next++]!);
      continue;
    }
    path.pop();
    const depth = depths.pop()!;
    open.delete(frame.node);
    visitsOf.set(frame.node, { visits: frame.visits, depth });
    addVisits({ visits: frame.visits, depth });
  }
  return value as TorchValue;
}

/** The values inside a container, null for leaves; refuses what is no data. */
function childrenOf(value: PickleValue, fail: (rule: string, message: string) => never): readonly PickleValue[] | null {
  if (isKey(value) || value instanceof Uint8Array || value instanceof TorchTensor || value instanceof TorchStorage)
    return null;
  if (Array.isArray(value)) return value;
  if (value instanceof Map) return [...value.values()];
  if (value instanceof Set) return null;
  const kind = kindOf(value);
  if (kind === 'namespace') return [...(value as TorchNamespace).fields.values()];
  if (kind === 'device' || kind === 'dtype') return null;
  return fail('not-data', `the file holds ${describe(value)} as a value, which is not data`);
}
