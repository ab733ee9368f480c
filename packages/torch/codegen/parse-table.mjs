// The parser of operations.txt. One line, one operation; every mistake in the table is an error with its line number.

const TYPES = new Set([
  'Tensor',
  'Tensor!',
  'Tensor?',
  'Tensor[]',
  'Tensor?[]',
  'int',
  'int?',
  'int[]',
  'int[]?',
  'float',
  'float?',
  'bool',
  'bool?',
  'Scalar',
  'Scalar?',
  'str',
  'dtype',
  'dtype?',
  'Options',
  'MemoryFormat',
  'MemoryFormat?',
  'IndexOptions',
]); // prettier-ignore

/**
 * @typedef {{ type: string, name: string, default?: string, keyword: boolean }} Parameter
 * @typedef {{ schema: string, cppName: string, overload: string, tsName: string, parameters: Parameter[],
 *             returns: { type: string, name: string }[], method: boolean, methodOnly: boolean }} Operation
 */

/** @param {string} text @returns {Operation[]} */
export function parseTable(text) {
  const operations = [];
  const names = new Set();
  text.split('\n').forEach((line, index) => {
    if (line.trim() === '' || line.startsWith('#')) return;
    try {
      const operation = parseLine(line);
      const name = operation.overload ? `${operation.cppName}.${operation.overload}` : operation.cppName;
      if (names.has(name)) throw new Error(`"${name}" is in the table twice`);
      names.add(name);
      operations.push(operation);
    } catch (error) {
      throw new Error(`operations.txt:${index + 1}: ${error.message}`);
    }
  });
  return operations;
}

function parseLine(line) {
  const match = /^([\w]+)(?:\.(\w+))?\((.*)\) -> (.+?)(?:\s{2,}(.*))?$/.exec(line.trim());
  if (!match) throw new Error(`expected "name.overload(arguments) -> result  flags", got "${line}"`);
  const [, cppName, overload = '', parameterText, resultText, flagText = ''] = match;
  const flags = flagText.split(/\s+/).filter(Boolean);
  const unknown = flags.find((flag) => !/^(m|M|as=\w+)$/.test(flag));
  if (unknown !== undefined) throw new Error(`unknown flag "${unknown}"`);
  const alias = flags.find((flag) => flag.startsWith('as='))?.slice(3);
  const parameters = [];
  let keyword = false;
  for (const part of splitTopLevel(parameterText)) {
    if (part === '*') keyword = true;
    else parameters.push({ ...parseParameter(part), keyword });
  }
  const method = flags.includes('m') || flags.includes('M');
  if (method && !(parameters[0]?.name === 'self' && parameters[0].type === 'Tensor')) {
    throw new Error('a method\'s first parameter must be "Tensor self"');
  }
  return {
    schema: line.trim().replace(/\s{2,}.*/, ''),
    cppName,
    overload,
    tsName: alias ?? camelCase(cppName),
    parameters,
    returns: parseResult(resultText),
    method,
    methodOnly: flags.includes('M'),
  };
}

function parseParameter(text) {
  const match = /^(\S+) (\w+)(?:=(.*))?$/.exec(text);
  if (!match) throw new Error(`expected "Type name[=default]", got "${text}"`);
  const [, type, name, fallback] = match;
  if (!TYPES.has(type)) throw new Error(`unknown type "${type}"`);
  return fallback === undefined ? { type, name } : { type, name, default: fallback };
}

function parseResult(text) {
  if (text === '()') return [];
  const list = text.startsWith('(') ? splitTopLevel(text.slice(1, -1)) : [text];
  return list.map((item) => {
    const [type, name = 'result'] = item.split(' ');
    if (!['Tensor', 'Tensor[]', 'bool', 'int', 'float'].includes(type)) throw new Error(`unknown result "${type}"`);
    return { type, name };
  });
}

function splitTopLevel(text) {
  return text
    .split(/,(?![^[(]*[\])])/)
    .map((part) => part.trim())
    .filter(Boolean);
}

function camelCase(name) {
  const bare = name.replace(/^_+/, '');
  return bare.replace(/_+([a-z0-9])/g, (_, letter) => letter.toUpperCase());
}
