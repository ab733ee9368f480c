/**
 * Reads the three emoji icon sets from their npm packages (IconifyJSON) and joins them by code point.
 *
 * The sets name icons differently, but each has a table code point → icon name. A code point here is Iconify's form:
 * lower-case hexadecimal numbers joined by `-`, without the variation selector fe0f. Name and category come from the
 * first set that knows the code point, so all styles of one emoji fall into the same class.
 * Pictures drawn twice in a set (the flag of France also stands for some of its islands) are kept once.
 */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { DataError } from '../data-error.ts';
import { emojiClassOf } from './classes.ts';

/** In order of precedence for names and categories. Versions are pinned in package.json. */
export const emojiIconSets = ['noto', 'twemoji', 'fluent-emoji-flat'] as const;
export type EmojiIconSet = (typeof emojiIconSets)[number];

export interface IconSetInfo {
  set: EmojiIconSet;
  package: string;
  version: string;
  /** Title of the icon set, its licence (SPDX) and the author's page. */
  title: string;
  author: string;
  licence: string;
  url: string;
}

export interface EmojiIcon {
  /** Code points in hexadecimal, joined by `-`: `1f468-200d-1f373`. */
  codePoint: string;
  set: EmojiIconSet;
  /** Name of the emoji (that of the first set that has it, not of this set). */
  name: string;
  className: string;
  /** A whole SVG document without width and height. */
  svg: string;
}

/** Every icon of every set that belongs to a class, ordered by code point, then by set. */
export function readEmojiIcons(): { icons: EmojiIcon[]; sets: IconSetInfo[] } {
  const sets = emojiIconSets.map(readIconSet);

  const identity = new Map<string, { name: string; category: string }>();
  for (const { names, categories } of sets) {
    for (const [codePoint, name] of names) {
      const category = categories.get(name);
      if (category !== undefined && !identity.has(codePoint)) identity.set(codePoint, { name, category });
    }
  }

  const icons: EmojiIcon[] = [];
  const drawn = new Set<string>();
  for (const codePoint of [...identity.keys()].sort()) {
    if (SKIN_TONE.test(codePoint)) continue;
    const { name, category } = identity.get(codePoint)!;
    const className = emojiClassOf(name, category);
    if (className === null) continue;
    for (const { info, names, svgOf } of sets) {
      const iconName = names.get(codePoint);
      const svg = iconName === undefined ? undefined : svgOf(iconName);
      if (svg === undefined || drawn.has(svg)) continue;
      drawn.add(svg);
      icons.push({ codePoint, set: info.set, name, className, svg });
    }
  }
  return { icons, sets: sets.map(({ info }) => info) };
}

/** The five modifiers of the Fitzpatrick scale. */
const SKIN_TONE = /1f3f[b-f]/;

interface IconSet {
  info: IconSetInfo;
  /** Code point → icon name. */
  names: Map<string, string>;
  /** Icon name → Unicode category. */
  categories: Map<string, string>;
  svgOf(iconName: string): string | undefined;
}

interface IconifyJson {
  width?: number;
  height?: number;
  icons: Record<string, { body: string; width?: number; height?: number; left?: number; top?: number }>;
}

function readIconSet(set: EmojiIconSet): IconSet {
  const packageName = `@iconify-json/${set}`;
  const data = readPackageJson<IconifyJson>(packageName, 'icons.json');
  const chars = readPackageJson<Record<string, string>>(packageName, 'chars.json');
  const metadata = readPackageJson<{ categories: Record<string, string[]> }>(packageName, 'metadata.json');
  const about = readPackageJson<{
    name: string;
    author: { name: string; url: string };
    license: { spdx: string };
  }>(packageName, 'info.json');
  const { version } = readPackageJson<{ version: string }>(packageName, 'package.json');

  const categories = new Map<string, string>();
  for (const [category, names] of Object.entries(metadata.categories)) {
    for (const name of names) categories.set(name, category);
  }
  return {
    info: {
      set,
      package: packageName,
      version,
      title: about.name,
      author: about.author.name,
      licence: about.license.spdx,
      url: about.author.url,
    },
    names: new Map(Object.entries(chars)),
    categories,
    svgOf(iconName) {
      const icon = data.icons[iconName];
      if (icon === undefined) return undefined;
      const width = icon.width ?? data.width ?? 16;
      const height = icon.height ?? data.height ?? 16;
      const box = `${icon.left ?? 0} ${icon.top ?? 0} ${width} ${height}`;
      return (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" ' +
        `viewBox="${box}">${icon.body}</svg>`
      );
    },
  };
}

function readPackageJson<T>(packageName: string, file: string): T {
  try {
    const path = createRequire(import.meta.url).resolve(`${packageName}/${file}`);
    return JSON.parse(readFileSync(path, 'utf8')) as T;
  } catch (cause) {
    throw new DataError(
      'EMOJI_PACKAGE_MISSING',
      `Cannot read ${file} of the npm package ${packageName}, which holds the emoji: run npm install.`,
      { cause },
    );
  }
}
