/**
 * The import graph of all packages, and which of its edges the house forbids (docs/architecture.md): a package imports
 * only packages above it in the list; inside packages/tessera/src a folder imports only itself and folders above it.
 * A pure function of the files' texts, so that the test can show it a bad edge.
 */

import { dirname, posix } from 'node:path';
import ts from 'typescript';

export interface File {
  /** Relative to the repository's root, with '/'. */
  readonly path: string;
  readonly text: string;
}

/** Folder under packages/ and name of each package, in import order. */
const PACKAGES = [
  ['formats', '@tessera/formats'],
  ['schedule', '@tessera/schedule'],
  ['torch', '@tessera/torch'],
  ['tessera', 'tessera'],
  ['models-emoji', '@tessera/models-emoji'],
  ['browser', '@tessera/browser'],
  ['studio', '@tessera/studio'],
] as const;

/** Packages that may import less than the list allows. */
const ONLY: Record<string, readonly string[]> = { browser: ['formats', 'schedule'] };

/** Folders of packages/tessera/src, in import order. */
const FOLDERS = [
  ...['nn', 'tokenizers', 'models', 'sampling', 'data', 'metrics'],
  ...['training', 'search', 'pipelines', 'server', 'cli'],
];

/** Pairs that do not know each other although the order would allow one of the two. */
const STRANGERS = [['models', 'sampling']];

/** Packages whose own code must run without Node. */
const WITHOUT_NODE = ['schedule', 'browser'];

/** One line for each forbidden edge; empty when the house is in order. */
export function findBadEdges(files: readonly File[]): string[] {
  const paths = new Set(files.map(({ path }) => path));
  return files.flatMap((file) => importsOf(file).flatMap((name) => judge(file.path, name, paths) ?? []));
}

function importsOf({ path, text }: File): string[] {
  const { importedFiles } = ts.preProcessFile(text, true, true);
  return path.endsWith('.ts') || path.endsWith('.tsx') ? importedFiles.map(({ fileName }) => fileName) : [];
}

function judge(from: string, name: string, paths: ReadonlySet<string>): string | undefined {
  const edge = (why: string) => `${from} imports ${name}: ${why}`;
  const source = place(from);
  if (source.order === -1) return edge(`packages/${source.package} is not in the list of packages`);
  const isTest = /\.test\.tsx?$/.test(from);

  if (name.startsWith('.')) {
    const to = posix.normalize(posix.join(dirname(from), name));
    const target = place(to);
    if (target.package !== source.package) return edge('another package is imported by its name, not by a path');
    if (name.endsWith('.ts') && !paths.has(to)) return edge('there is no such file');
    return isTest || source.package !== 'tessera' ? undefined : judgeFolders(source, target, edge);
  }
  const order = PACKAGES.findIndex(([, own]) => name === own || name.startsWith(`${own}/`));
  if (order !== -1) {
    const [target] = PACKAGES[order]!;
    if (target === source.package) return isTest ? undefined : edge('inside a package, imports use paths');
    if (order > source.order) return edge(`${source.package} stands above ${target}`);
    if (ONLY[source.package]?.includes(target) === false) {
      return edge(`${source.package} imports only ${ONLY[source.package]!.join(' and ')}`);
    }
    return undefined;
  }
  if (name.startsWith('@tessera/')) return edge('there is no such package in the list');
  if (!isTest && name.startsWith('node:') && WITHOUT_NODE.includes(source.package)) {
    return edge(`${source.package} must run without Node`);
  }
  return undefined;
}

interface Place {
  readonly package: string;
  readonly order: number;
  /** First folder below src; '' for files in src itself, undefined outside src. */
  readonly folder: string | undefined;
  readonly file: string;
}

function place(path: string): Place {
  const parts = path.split('/');
  const name = parts[0] === 'packages' ? parts[1]! : '';
  const inside = parts[2] === 'src' ? parts.slice(3) : undefined;
  return {
    package: name,
    order: PACKAGES.findIndex(([folder]) => folder === name),
    folder: inside === undefined ? undefined : inside.length > 1 ? inside[0]! : '',
    file: parts.at(-1)!,
  };
}

function judgeFolders(source: Place, target: Place, edge: (why: string) => string): string | undefined {
  if (source.folder === '' && source.file === 'index.ts') return undefined;
  const from = FOLDERS.indexOf(source.folder ?? '');
  const to = FOLDERS.indexOf(target.folder ?? '');
  if (from === -1) return edge(`the folder "${source.folder}" is not in the list of folders`);
  if (to === -1) {
    return edge(
      target.folder === ''
        ? 'only the package entry imports from src/ itself'
        : `the folder "${target.folder}" is not in the list of folders`,
    );
  }
  if (to > from) return edge(`${source.folder} stands above ${target.folder}`);
  const strangers = STRANGERS.some((pair) => pair.includes(source.folder!) && pair.includes(target.folder!));
  if (strangers && from !== to) return edge(`${source.folder} and ${target.folder} do not know each other`);
  return undefined;
}

/** Folders of packages/ and of packages/tessera/src that the lists do not name. */
export function findUnknownFolders(files: readonly File[]): string[] {
  const unknown = new Set<string>();
  for (const { path } of files) {
    const { package: name, order, folder, file } = place(path);
    if (order === -1) unknown.add(`packages/${name}`);
    if (name !== 'tessera' || folder === undefined) continue;
    if (folder === '' && file !== 'index.ts') unknown.add(path);
    if (folder !== '' && !FOLDERS.includes(folder)) unknown.add(`packages/tessera/src/${folder}`);
  }
  return [...unknown].sort();
}
