/** Writes small tar archives for tests, in the dialects that are read. */

export interface Member {
  name: string;
  bytes?: Uint8Array | string;
  /** Type flag; default a file. */
  type?: string;
}

/** A POSIX archive: a member after the other, then two blocks of zeros. */
export function tar(members: readonly Member[]): Uint8Array {
  return Buffer.concat([...members.flatMap(member), Buffer.alloc(1024)]);
}

export function member({ name, bytes = '', type = '0' }: Member): Buffer[] {
  const data = Buffer.from(bytes as string);
  const header = Buffer.alloc(512);
  header.write(name, 0, 100);
  header.write('0000644\0', 100);
  header.write(`${data.length.toString(8).padStart(11, '0')}\0`, 124);
  header.write(type, 156);
  header.write('ustar\0', 257);
  header.write('00', 263);
  return [sealed(header), data, Buffer.alloc((512 - (data.length % 512)) % 512)];
}

/** Puts the checksum in. */
export function sealed(header: Buffer): Buffer {
  header.write('        ', 148);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  return header;
}

/** A record of a pax header: its length counts itself. */
export function paxRecord(key: string, value: string): string {
  const rest = Buffer.byteLength(` ${key}=${value}\n`);
  let length = rest;
  while (length !== rest + String(length).length) length = rest + String(length).length;
  return `${length} ${key}=${value}\n`;
}
