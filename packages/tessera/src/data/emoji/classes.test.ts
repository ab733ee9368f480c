import { expect, test } from 'vitest';
import { emojiCategoryRules, emojiClassNames, emojiClassOf, LEFT_OUT } from './classes.ts';

test('at most 25 classes, sorted, each a name that can be a folder', () => {
  const names = emojiClassNames();
  expect(names.length).toBeLessThanOrEqual(25);
  expect(names).toEqual([...names].sort());
  for (const name of names) expect(name).toMatch(/^[a-z]+(-[a-z]+)*$/);
  expect(names).not.toContain(LEFT_OUT);
});

test('named icons, defaults, left out ones and unknown categories', () => {
  expect(emojiClassOf('red-heart', 'Smileys & Emotion')).toBe('hearts');
  expect(emojiClassOf('grinning-face', 'Smileys & Emotion')).toBe('faces');
  expect(emojiClassOf('zzz', 'Smileys & Emotion')).toBeNull();
  expect(emojiClassOf('man-running', 'People & Body')).toBeNull();
  expect(emojiClassOf('red-heart', 'Component')).toBeNull();
});

test('no icon is named twice', () => {
  for (const { named } of Object.values(emojiCategoryRules)) {
    const names = Object.values(named).flatMap((list) => list.trim().split(/\s+/));
    expect(names.filter((name, i) => names.indexOf(name) !== i)).toEqual([]);
  }
});
