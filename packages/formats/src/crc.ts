/**
 * Reflected 32-bit cyclic redundancy checks, four bytes a step ("slicing by 4").
 *
 * Two polynomials are needed: CRC-32 (zip, PNG) and CRC-32C, Castagnoli (TensorBoard records).
 * Both start from and end with all bits inverted. Check value of each: the CRC of "123456789".
 */

/** The CRC of `bytes`, or of what `previous` covered followed by `bytes`. Unsigned. */
export type Crc = (bytes: Uint8Array, previous?: number) => number;

/** zip and PNG; of "123456789" it is 0xcbf43926. */
export const crc32: Crc = makeCrc(0xedb88320);

/** TensorBoard records; of "123456789" it is 0xe3069283. */
export const crc32c: Crc = makeCrc(0x82f63b78);

function makeCrc(polynomial: number): Crc {
  const table = [0, 1, 2, 3].map(() => new Uint32Array(256));
  const [t0, t1, t2, t3] = table as [Uint32Array, Uint32Array, Uint32Array, Uint32Array];
  for (let byte = 0; byte < 256; byte++) {
    let value = byte;
    for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ polynomial : value >>> 1;
    t0[byte] = value;
  }
  for (let byte = 0; byte < 256; byte++) {
    t1[byte] = (t0[byte]! >>> 8) ^ t0[t0[byte]! & 255]!;
    t2[byte] = (t1[byte]! >>> 8) ^ t0[t1[byte]! & 255]!;
    t3[byte] = (t2[byte]! >>> 8) ^ t0[t2[byte]! & 255]!;
  }
  return (bytes, previous = 0) => {
    let crc = ~previous;
    const whole = bytes.length - (bytes.length % 4);
    let i = 0;
    for (; i < whole; i += 4) {
      crc ^= bytes[i]! | (bytes[i + 1]! << 8) | (bytes[i + 2]! << 16) | (bytes[i + 3]! << 24);
      crc = t3[crc & 255]! ^ t2[(crc >>> 8) & 255]! ^ t1[(crc >>> 16) & 255]! ^ t0[crc >>> 24]!;
    }
    for (; i < bytes.length; i++) crc = (crc >>> 8) ^ t0[(crc ^ bytes[i]!) & 255]!;
    return ~crc >>> 0;
  };
}
