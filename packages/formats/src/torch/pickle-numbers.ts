/** Numbers of pickles: whole ones as numbers where they are exact, as bigints above 2^53. */

/** Little-endian two's complement of any length; no bytes are 0. */
export function readTwosComplement(bytes: Uint8Array): number | bigint {
  let digits = '';
  for (let i = bytes.byteLength - 1; i >= 0; i--) digits += bytes[i]!.toString(16).padStart(2, '0');
  let value = BigInt(`0x${digits || '0'}`);
  if (bytes.byteLength > 0 && bytes.at(-1)! & 0x80) value -= 1n << BigInt(8 * bytes.byteLength);
  return narrow(value);
}

/** Decimal text, with the L of Python 2; undefined if it is none. At most 2,500 digits. */
export function parseDecimal(text: string): number | bigint | undefined {
  return /^[-+]?\d{1,2500}L?$/.test(text) ? narrow(BigInt(text.replace(/^\+|L$/g, ''))) : undefined;
}

/** A number as Python's `repr` writes it; undefined if it is none. */
export function parseFloating(text: string): number | undefined {
  if (text === 'nan') return Number.NaN;
  if (/^-?inf$/.test(text)) return text === 'inf' ? Number.POSITIVE_INFINITY : Number.NEGATIVE_INFINITY;
  return /^[-+]?\d+\.?\d*(e[-+]?\d+)?$/i.test(text) ? Number(text) : undefined;
}

/** A number if it is exact, else the bigint itself. */
export function narrow(value: bigint): number | bigint {
  return value >= BigInt(Number.MIN_SAFE_INTEGER) && value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : value;
}
