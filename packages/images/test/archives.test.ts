/**
 * Packages are taken apart exactly, whatever the pieces they arrive in; and one that is cut short, lies
 * about a size or names a file outside is an error, never a hang, a crash or a file on a disk.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { GodwitError } from '@godwit/protocol';
import fc from 'fast-check';
import { readArMembers } from '../src/ar.ts';
import { readDeb } from '../src/deb.ts';
import { compressionIn, decompressAll } from '../src/decompress.ts';
import { readTar } from '../src/tar.ts';
import { chunked, makeAr, makeDeb, makeTar, NO_XZ, paxRecord, seal, xz } from './archives.ts';

const directory = mkdtempSync(join(tmpdir(), 'godwit-archives-'));
after(() => rmSync(directory, { recursive: true, force: true }));

const MIB = 1024 * 1024;

async function untar(tar: Uint8Array, chunkBytes = 700): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  for await (const entry of readTar(chunked(tar, chunkBytes), 'test.tar')) {
    const content = entry.type === 'file' ? (await entry.content()).toString('latin1') : entry.type;
    found.set(entry.name, content);
  }
  return found;
}

const isBad = (thrown: unknown) =>
  thrown instanceof GodwitError && thrown.code === 'image.bad_archive';

async function deb(bytes: Uint8Array): Promise<Map<string, Buffer>> {
  const path = join(directory, `${randomBytes(4).toString('hex')}.deb`);
  writeFileSync(path, bytes);
  return readDeb(path, 'test.deb', () => true);
}

describe('tar', () => {
  it('reads what GNU tar writes: long names, links, empty and large files', async () => {
    const tree = join(directory, 'tree');
    const deep = `${'a-long-folder-name/'.repeat(12)}file`;
    const files = new Map([
      ['empty', ''],
      ['block', 'x'.repeat(512)],
      ['some', 'y'.repeat(70_001)],
      [deep, 'deep'],
    ]);
    for (const [name, content] of files) {
      mkdirSync(join(tree, name, '..'), { recursive: true });
      writeFileSync(join(tree, name), content);
    }
    symlinkSync('some', join(tree, 'link'));
    for (const format of ['gnu', 'posix', 'ustar']) {
      const tar = execFileSync('tar', ['-C', tree, `--format=${format}`, '-cf', '-', '.'], {
        maxBuffer: 4 * MIB,
      });
      const found = await untar(tar);
      for (const [name, content] of files) assert.equal(found.get(name), content, format);
      assert.equal(found.get('link'), 'link');
    }
  });

  it('gives the same entries however the bytes are cut', async () => {
    const tar = makeTar([
      { name: './one', data: Buffer.from('1') },
      { name: 'x', type: 'x', data: paxRecord('path', 'named/by/pax') },
      { name: 'two', data: Buffer.alloc(1_000, 'z') },
    ]);
    const whole = await untar(tar, tar.length);
    assert.deepEqual([...whole.keys()], ['one', 'named/by/pax']);
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 600 }), async (bytes) => {
        assert.deepEqual(await untar(tar, bytes), whole);
      }),
      { numRuns: 40 },
    );
  });

  it('refuses every truncation', async () => {
    const tar = makeTar([
      { name: 'L', type: 'L', data: Buffer.from('a-long-name\0') },
      { name: 'one', data: Buffer.alloc(600, 'q') },
    ]);
    // The second of the two empty blocks at the end is not needed to know that it is the end.
    const needed = tar.length - 512;
    for (let bytes = 0; bytes < needed; bytes += 37) {
      await assert.rejects(untar(tar.subarray(0, bytes)), isBad, `${bytes} bytes`);
    }
  });

  it('refuses names that lead outside, and reports links without following them', async () => {
    for (const name of ['/etc/passwd', '../x', 'a/../../x', './../x']) {
      await assert.rejects(untar(makeTar([{ name, data: Buffer.from('!') }])), isBad, name);
    }
    const long = makeTar([
      { name: 'x', type: 'x', data: paxRecord('path', '../../x') },
      { name: 'harmless' },
    ]);
    await assert.rejects(untar(long), isBad);
    const link = await untar(
      makeTar([{ name: 'l', type: '2', link: '/etc/passwd', size: '77777777777\0' }]),
    );
    assert.deepEqual([...link], [['l', 'link']]);
  });

  it('refuses sizes that are lies before it takes memory for them', async () => {
    const claims = [
      '77777777777\0',
      'no number!!\0',
      '\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff',
    ];
    for (const size of claims) {
      await assert.rejects(untar(makeTar([{ name: 'f', size }])), isBad, size);
    }
    const base256 = Buffer.alloc(12);
    base256[0] = 0x80;
    base256[6] = 0xff;
    const huge = makeTar([{ name: 'f', size: base256.toString('latin1') }]);
    await assert.rejects(untar(huge), isBad);
    await assert.rejects(untar(makeTar([{ name: 'x', type: 'x', size: '00100000000\0' }])), isBad);
    await assert.rejects(untar(makeTar([{ name: 's', type: 'S' }])), isBad);
  });

  it('survives any single changed byte', async () => {
    const tar = makeTar([
      { name: 'x', type: 'x', data: paxRecord('size', '5') },
      { name: 'one', data: Buffer.from('12345') },
    ]);
    await fc.assert(
      fc.asyncProperty(fc.nat(tar.length - 1), fc.integer({ min: 1, max: 255 }), async (at, by) => {
        const changed = Buffer.from(tar);
        changed[at] = changed[at]! ^ by;
        if (at < 512) seal(changed.subarray(0, 512));
        await untar(changed).catch((thrown) => assert.ok(isBad(thrown), String(thrown)));
      }),
      { numRuns: 400 },
    );
  });
});

describe('ar and packages', () => {
  const members = [
    { name: './boot/vmlinux', data: Buffer.from('kernel') },
    { name: './lib/m.ko', data: Buffer.alloc(3_000, 'm') },
  ];

  it('takes packages of every compression apart', { skip: NO_XZ }, async () => {
    const tar = makeTar(members);
    const packages = {
      'data.tar': tar,
      'data.tar.gz': gzipSync(tar),
      'data.tar.zst': zstdCompressSync(tar),
      'data.tar.xz': xz(tar),
    };
    for (const [name, data] of Object.entries(packages)) {
      const found = await deb(makeDeb(members, name, data));
      assert.deepEqual([...found.keys()], ['boot/vmlinux', 'lib/m.ko'], name);
      assert.equal(found.get('boot/vmlinux')?.toString(), 'kernel');
    }
  });

  it('refuses every truncation of a package', { skip: NO_XZ }, async () => {
    for (const [name, data] of [
      ['data.tar.xz', xz(makeTar(members))],
      ['data.tar.gz', gzipSync(makeTar(members))],
    ] as const) {
      const whole = makeDeb(members, name, data);
      const end = whole.length - (data.length % 2);
      for (let bytes = 0; bytes < end; bytes += 29) {
        await assert.rejects(deb(whole.subarray(0, bytes)), isBad, `${name}, ${bytes} bytes`);
      }
    }
  });

  it('refuses what is no package, or has a damaged member table', async () => {
    const cases = [
      Buffer.alloc(200),
      makeAr([{ name: 'other', data: Buffer.from('x') }]),
      makeAr([{ name: 'debian-binary', data: Buffer.from('2.0\n') }]),
      makeDeb([], 'data.tar.xz', Buffer.alloc(0)),
      makeDeb([], 'data.tar.xz', Buffer.alloc(64)),
      Buffer.concat([makeDeb(members, 'data.tar'), Buffer.alloc(60, 'x')]),
      makeAr(Array.from({ length: 40 }, (_, i) => ({ name: `m${i}`, data: Buffer.from('x') }))),
    ];
    for (const bytes of cases) await assert.rejects(deb(bytes), isBad);
  });

  it('finds members where they lie', async () => {
    const path = join(directory, 'plain.a');
    writeFileSync(
      path,
      makeAr([
        { name: 'odd', data: Buffer.from('123') },
        { name: 'b/', data: Buffer.from('4') },
      ]),
    );
    const file = await open(path);
    try {
      assert.deepEqual(await readArMembers(file, 'a'), [
        { name: 'odd', offset: 68, bytes: 3 },
        { name: 'b', offset: 132, bytes: 1 },
      ]);
    } finally {
      await file.close();
    }
  });
});

describe('decompression', () => {
  it('stops when the output grows beyond the limit', { skip: NO_XZ }, async () => {
    const zeros = Buffer.alloc(8 * MIB);
    for (const packed of [gzipSync(zeros), zstdCompressSync(zeros), xz(zeros)]) {
      const kind = compressionIn(packed);
      assert.equal((await decompressAll(packed, kind, 8 * MIB, 'z')).length, zeros.length);
      await assert.rejects(decompressAll(packed, kind, MIB, 'z'), isBad, kind);
    }
  });

  it('gives the bytes back, or says that they are damaged', { skip: NO_XZ }, async () => {
    const data = randomBytes(100_000);
    for (const packed of [gzipSync(data), zstdCompressSync(data, { params: {} }), xz(data)]) {
      const kind = compressionIn(packed);
      assert.deepEqual(await decompressAll(packed, kind, MIB, 'r'), data);
      const half = packed.subarray(0, packed.length / 2);
      await assert.rejects(decompressAll(half, kind, MIB, 'r'), isBad, kind);
    }
  });
});
