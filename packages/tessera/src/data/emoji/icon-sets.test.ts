import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { expect, test } from 'vitest';
import { emojiCategoryRules, emojiClassNames } from './classes.ts';
import { emojiIconSets, readEmojiIcons } from './icon-sets.ts';

const { icons, sets } = readEmojiIcons();

test('the pinned versions and their licences', () => {
  expect(sets.map(({ package: name, version, licence }) => `${name} ${version} ${licence}`)).toEqual([
    '@iconify-json/noto 1.2.9 Apache-2.0',
    '@iconify-json/twemoji 1.2.5 CC-BY-4.0',
    '@iconify-json/fluent-emoji-flat 1.2.6 MIT',
  ]);
});

test('all styles of an emoji are in one class under one name', () => {
  const cat = icons.filter(({ codePoint }) => codePoint === '1f431');
  expect(cat.map(({ set, className, name }) => [set, className, name])).toEqual([
    ['noto', 'animal-faces', 'cat-face'],
    ['twemoji', 'animal-faces', 'cat-face'],
    ['fluent-emoji-flat', 'animal-faces', 'cat-face'],
  ]);
  const classOf = new Map<string, string>();
  for (const { codePoint, className } of icons) {
    expect(classOf.get(codePoint) ?? className).toBe(className);
    classOf.set(codePoint, className);
  }
});

test('no skin tones, hardly any gender variants, no picture twice', () => {
  expect(icons.filter(({ codePoint }) => /1f3f[b-f]/.test(codePoint))).toEqual([]);
  const gendered = icons.filter(({ codePoint }) => /200d-264[02]/.test(codePoint)).map(({ name }) => name);
  expect([...new Set(gendered)].sort()).toEqual(['man-blond-hair', 'woman-blond-hair']);
  expect(new Set(icons.map(({ svg }) => svg)).size).toBe(icons.length);
});

test('about 4,000 pictures, enough in each class', () => {
  expect(icons.length).toBe(4140);
  for (const name of emojiClassNames()) {
    expect(icons.filter(({ className }) => className === name).length, name).toBeGreaterThan(60);
  }
});

test('every icon that a class names exists in its category', () => {
  const known = new Set<string>();
  const taken = new Set<string>();
  const require = createRequire(import.meta.url);
  for (const set of emojiIconSets) {
    const read = (file: string) => JSON.parse(readFileSync(require.resolve(`@iconify-json/${set}/${file}`), 'utf8'));
    const chars: Record<string, string> = read('chars.json');
    const categories: Record<string, string[]> = read('metadata.json').categories;
    const categoryOf = new Map(Object.entries(categories).flatMap(([name, list]) => list.map((icon) => [icon, name])));
    for (const [codePoint, name] of Object.entries(chars)) {
      if (taken.has(codePoint)) continue;
      taken.add(codePoint);
      known.add(`${categoryOf.get(name)}/${name}`);
    }
  }
  const named = Object.entries(emojiCategoryRules).flatMap(([category, rule]) =>
    Object.values(rule.named).flatMap((list) =>
      list
        .trim()
        .split(/\s+/)
        .map((name) => `${category}/${name}`),
    ),
  );
  expect(named.filter((name) => !known.has(name))).toEqual([]);
});
