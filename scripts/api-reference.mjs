// The API reference, docs/api/PACKAGE.md, from the doc comments of each package's entry: `npm run api`. A test compares,
// so that a changed signature or comment changes the page with it.

import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join, relative, sep } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import ts from 'typescript';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');

/** Packages with a reference, by folder. */
export const REFERENCES = ['torch', 'formats', 'schedule'];

/** The pages by package folder, as text. */
export function renderReferences() {
  const entries = REFERENCES.map((folder) => join(root, 'packages', folder, 'src', 'index.ts'));
  // Declarations are shown as they are written, so no library needs to be loaded to infer types.
  const options = {
    module: ts.ModuleKind.NodeNext,
    noLib: true,
    types: [],
    allowImportingTsExtensions: true,
    noEmit: true,
  };
  const program = ts.createProgram(entries, options);
  return new Map(REFERENCES.map((folder, i) => [folder, renderReference(folder, program, entries[i])]));
}

function renderReference(folder, program, entry) {
  const source = dirname(entry);
  const checker = program.getTypeChecker();
  const byFile = new Map();
  for (const exported of checker.getExportsOfModule(checker.getSymbolAtLocation(program.getSourceFile(entry)))) {
    const symbol = exported.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(exported) : exported;
    const declaration = symbol.declarations?.[0];
    if (declaration === undefined) continue;
    const file = declaration.getSourceFile();
    const list = byFile.get(file) ?? [];
    list.push({ name: exported.name, symbol, declaration });
    byFile.set(file, list);
  }
  const sections = [...byFile]
    .map(([file, items]) => ({ path: relative(source, file.fileName).split(sep).join('/'), file, items }))
    .sort((a, b) => (a.path < b.path ? -1 : 1))
    .map(({ path, file, items }) => renderFile(path, file, items, checker));
  const intro = `Made of the doc comments by \`npm run api\`; do not edit. Shapes: B batch, L tokens, D width, N images, Y×X grid.`;
  return `${[`# @tessera/${folder}`, intro, ...sections].join('\n\n')}\n`;
}

/** One heading a source file; generated operations are one line each, the rest code with its comment. */
function renderFile(path, file, items, checker) {
  const place = (item) => item.declaration.getStart();
  const sorted = [...items].sort((a, b) => place(a) - place(b));
  const isOperation = ({ declaration }) => path.startsWith('generated/') && ts.isFunctionDeclaration(declaration);
  const others = sorted
    .filter((item) => !isOperation(item))
    .map(({ name, symbol }) => renderExport(name, symbol, checker));
  return [`## ${path}`, headerOf(file), ...others, renderOperations(sorted.filter(isOperation))]
    .filter((part) => part !== '')
    .join('\n\n');
}

/** The comment at the top of a file, unless it belongs to the declaration below it: what the file is about. */
function headerOf(file) {
  const ranges = ts.getLeadingCommentRanges(file.text, 0) ?? [];
  const last = ranges.at(-1);
  if (last === undefined || !/^\n(?:\n|import )/.test(file.text.slice(last.end))) return '';
  const text = ranges.map(({ pos, end }) => file.text.slice(pos, end)).join('\n');
  const lines = text.split('\n').map((line) => line.replace(/^\s*(?:\/\/|\/\*\*?|\*\/|\*) ?|\s*\*\/$/g, ''));
  return lines.join('\n').trim();
}

function renderExport(name, symbol, checker) {
  const doc = docOf(symbol, checker);
  const code = (symbol.declarations ?? []).map((declaration) => signatureOf(declaration, name)).join('\n');
  return [`### ${name}`, doc, `\`\`\`ts\n${code}\n\`\`\``].filter((part) => part !== '').join('\n\n');
}

function docOf(symbol, checker) {
  const text = ts.displayPartsToString(symbol.getDocumentationComment(checker));
  const tags = symbol.getJsDocTags(checker).map(({ name, text: parts }) => {
    const words = ts.displayPartsToString(parts);
    return name === 'param'
      ? `- \`${words.split(' ')[0]}\`: ${words.split(' ').slice(1).join(' ')}`
      : `- ${name}: ${words}`;
  });
  return [text, tags.join('\n')].filter((part) => part !== '').join('\n\n');
}

/** The declaration without bodies, private members and initial values. */
function signatureOf(declaration, name) {
  const text = (node) => node.getText();
  if (ts.isFunctionDeclaration(declaration)) return `function ${headOf(declaration)};`;
  if (ts.isVariableDeclaration(declaration)) {
    const type = declaration.type ? `: ${text(declaration.type)}` : '';
    return `const ${name}${type};`;
  }
  if (ts.isClassDeclaration(declaration)) {
    const heritage = (declaration.heritageClauses ?? []).map(text).join(' ');
    const members = declaration.members.flatMap((member) => memberOf(member));
    return `class ${name}${typeParameters(declaration)}${heritage ? ` ${heritage}` : ''} {\n${members.join('\n')}\n}`;
  }
  return text(declaration).replace(/^export /, '');
}

function memberOf(member) {
  const flags = ts.getCombinedModifierFlags(member);
  if (flags & (ts.ModifierFlags.Private | ts.ModifierFlags.Protected)) return [];
  const doc = ts.getJSDocCommentsAndTags(member).map((comment) => `  ${comment.getText()}`);
  const line = memberLine(member);
  return line === undefined ? [] : [...doc, `  ${line}`];
}

function memberLine(member) {
  if (ts.isConstructorDeclaration(member)) return `constructor(${parameters(member)});`;
  if (ts.isMethodDeclaration(member)) return `${headOf(member)};`;
  if (ts.isGetAccessor(member)) return `get ${member.name.getText()}()${returnType(member)};`;
  if (ts.isSetAccessor(member)) return `set ${member.name.getText()}(${parameters(member)});`;
  if (!ts.isPropertyDeclaration(member)) return undefined;
  const modifiers = (member.modifiers ?? []).map((modifier) => modifier.getText()).join(' ');
  const optional = member.questionToken ? '?' : '';
  const type = member.type ? `: ${member.type.getText()}` : '';
  return `${modifiers ? `${modifiers} ` : ''}${member.name.getText()}${optional}${type};`;
}

function headOf(declaration) {
  const star = declaration.asteriskToken ? '*' : '';
  return `${star}${declaration.name.getText()}${typeParameters(declaration)}(${parameters(declaration)})${returnType(declaration)}`;
}

function typeParameters({ typeParameters: list }) {
  return list ? `<${list.map((parameter) => parameter.getText()).join(', ')}>` : '';
}

function parameters(declaration) {
  const list = declaration.parameters.map((parameter) => parameter.getText().replace(/\s*\n\s*/g, ' '));
  return list.join(', ');
}

function returnType({ type }) {
  return type ? `: ${type.getText().replace(/\s*\n\s*/g, ' ')}` : '';
}

/** A function a line: what TypeScript sees, and ATen's signature from its comment. */
function renderOperations(items) {
  if (items.length === 0) return '';
  const lines = items.map(({ declaration }) => {
    const [doc] = ts.getJSDocCommentsAndTags(declaration);
    return `- \`${headOf(declaration)}\`${doc === undefined ? '' : `\n  ${doc.comment}`}`;
  });
  const intro = "PyTorch's operations, with ATen's signature below each; most are methods of `Tensor` too.";
  return [intro, lines.join('\n')].join('\n\n');
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  mkdirSync(join(root, 'docs', 'api'), { recursive: true });
  for (const [folder, page] of renderReferences()) writeFileSync(join(root, 'docs', 'api', `${folder}.md`), page);
}
