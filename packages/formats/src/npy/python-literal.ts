/**
 * The few Python literals that a npy header is made of: a dict with text keys, texts, True/False/None, whole
 * numbers (with the L of Python 2), tuples and lists. Lists and tuples both become arrays.
 */

export type Literal = string | number | boolean | null | Literal[] | Map<string, Literal>;

/** Nested field lists of structured dtypes are the deepest that occurs. */
const DEEPEST = 16;

/** Parses all of `text`; `fail` throws. */
export function parseLiteral(text: string, fail: (message: string) => never): Literal {
  let at = 0;
  const value = parseValue(0);
  skipSpace();
  if (at < text.length) fail(`the header goes on after its end: ${shown()}`);
  return value;

  function parseValue(depth: number): Literal {
    if (depth > DEEPEST) fail('the header is nested too deeply');
    skipSpace();
    const character = text[at];
    if (character === "'" || character === '"') return parseText();
    if (character === '(') return parseList(')', depth);
    if (character === '[') return parseList(']', depth);
    if (character === '{') return parseDict(depth);
    const word = /^(?:True|False|None|-?\d{1,20}L?)(?![\w.])/.exec(text.slice(at, at + 24))?.[0];
    if (word === undefined) return fail(`expected a Python literal, got ${shown()}`);
    at += word.length;
    if (word === 'True' || word === 'False') return word === 'True';
    if (word === 'None') return null;
    const number = Number(word.replace('L', ''));
    return Number.isSafeInteger(number) ? number : fail(`${word} is above 2^53 - 1`);
  }

  function parseText(): string {
    const quote = text[at]!;
    const end = text.indexOf(quote, at + 1);
    if (end < 0) return fail('a text in the header does not end');
    const content = text.slice(at + 1, end);
    if (content.includes('\\')) return fail('texts with backslashes are not supported');
    at = end + 1;
    return content;
  }

  function parseList(close: string, depth: number): Literal[] {
    at++;
    const values: Literal[] = [];
    while (!take(close)) {
      values.push(parseValue(depth + 1));
      if (!take(',')) {
        if (!take(close)) fail(`expected ',' or '${close}', got ${shown()}`);
        break;
      }
    }
    return values;
  }

  function parseDict(depth: number): Map<string, Literal> {
    at++;
    const values = new Map<string, Literal>();
    while (!take('}')) {
      const key = parseValue(depth + 1);
      if (typeof key !== 'string' || values.has(key)) fail('expected each key to be a text that occurs once');
      if (!take(':')) fail(`expected ':', got ${shown()}`);
      values.set(key as string, parseValue(depth + 1));
      if (!take(',')) {
        if (!take('}')) fail(`expected ',' or '}', got ${shown()}`);
        break;
      }
    }
    return values;
  }

  function take(character: string): boolean {
    skipSpace();
    if (text[at] !== character) return false;
    at++;
    return true;
  }

  function skipSpace(): void {
    while (text[at] === ' ' || text[at] === '\n' || text[at] === '\t' || text[at] === '\r') at++;
  }

  function shown(): string {
    return at >= text.length ? 'the end of the header' : JSON.stringify(text.slice(at, at + 12));
  }
}
