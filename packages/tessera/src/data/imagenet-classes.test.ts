import { expect, test } from 'vitest';
import { classNamesOf, imagenetClasses } from './imagenet-classes.ts';

test('a thousand ids in the order of labels', () => {
  const ids = [...imagenetClasses().keys()];
  expect(ids).toEqual([...new Set(ids)].sort());
  expect(ids.every((id) => /^n\d{8}$/.test(id))).toBe(true);
  const names = classNamesOf(1000)!;
  // Labels that papers show their pictures by.
  const known = {
    0: 'tench',
    88: 'macaw',
    207: 'golden retriever',
    387: 'lesser panda',
    417: 'balloon',
    979: 'valley',
  };
  for (const [label, word] of Object.entries(known)) expect(names[Number(label)]).toContain(word);
  expect(names.filter((name) => name === 'crane')).toHaveLength(2);
  expect(classNamesOf(999)).toBeUndefined();
});
