/** Archives made by hand for the tests: honest ones byte by byte, so that hostile ones are a change. */
import { execFileSync, spawnSync } from 'node:child_process';

export interface TarMember {
  readonly name: string;
  readonly type?: string;
  readonly data?: Uint8Array;
  /** What the header claims, when that is a lie. */
  readonly size?: string;
  readonly link?: string;
}

export function makeTar(members: readonly TarMember[]): Buffer {
  const parts = members.flatMap(({ name, type = '0', data = Buffer.alloc(0), size, link = '' }) => {
    const head = Buffer.alloc(512);
    head.write(name, 0, 100);
    head.write('0000644\0', 100);
    head.write('0000000\0'.repeat(2), 108);
    head.write(size ?? `${data.length.toString(8).padStart(11, '0')}\0`, 124, 12, 'latin1');
    head.write('00000000000\0', 136);
    head.write(type, 156);
    head.write(link, 157, 100);
    head.write('ustar\x0000', 257, 'latin1');
    return [seal(head), data, Buffer.alloc(-data.length & 511)];
  });
  return Buffer.concat([...parts, Buffer.alloc(1024)]);
}

/** Writes the checksum of a header block. */
export function seal(head: Buffer): Buffer {
  head.fill(' ', 148, 156);
  const sum = head.reduce((total, byte) => total + byte, 0);
  head.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  return head;
}

/** One pax record: its length counts itself. */
export function paxRecord(key: string, value: string): Buffer {
  const rest = Buffer.byteLength(` ${key}=${value}\n`);
  let length = rest + 1;
  while (rest + String(length).length !== length) length++;
  return Buffer.from(`${length} ${key}=${value}\n`);
}

export function makeAr(members: readonly { name: string; data: Uint8Array }[]): Buffer {
  const parts = members.flatMap(({ name, data }) => {
    const head = `${name.padEnd(16)}0           0     0     100644  ${String(data.length).padEnd(10)}\`\n`;
    return [Buffer.from(head), data, Buffer.alloc(data.length % 2, '\n')];
  });
  return Buffer.concat([Buffer.from('!<arch>\n'), ...parts]);
}

/** A package whose data member is compressed as its name says. */
export function makeDeb(
  members: readonly TarMember[],
  dataName: string,
  data?: Uint8Array,
): Buffer {
  return makeAr([
    { name: 'debian-binary', data: Buffer.from('2.0\n') },
    { name: 'control.tar', data: makeTar([]) },
    { name: dataName, data: data ?? makeTar(members) },
  ]);
}

/** For node:test's `skip`, of tests that call `xz`. */
export const NO_XZ =
  spawnSync('xz', ['--version']).error !== undefined && 'needs xz: install Debian package xz-utils';

/** By the machine's own xz. */
export function xz(data: Uint8Array): Buffer {
  return execFileSync('xz', ['-c'], { input: data });
}

export async function* chunked(data: Uint8Array, bytes: number): AsyncGenerator<Uint8Array, void> {
  for (let at = 0; at < data.length; at += bytes) yield data.subarray(at, at + bytes);
}
