/**
 * What an image is made of: kernels and initrds that are what they say, an initramfs that is the same
 * bytes every time, modules in an order in which they load.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { describe, it } from 'node:test';
import { gzipSync } from 'node:zlib';
import { GodwitError } from '@godwit/protocol';
import fc from 'fast-check';
import { writeCpio } from '../src/cpio.ts';
import { findPackage, readRelease } from '../src/debian-index.ts';
import { buildInitramfs } from '../src/initramfs.ts';
import { checkInitrd } from '../src/initrd.ts';
import { bootableKernel } from '../src/kernel-image.ts';
import { loadOrder, readModuleInfo } from '../src/kernel-module.ts';
import { makeManifest, manifestText, parseManifest } from '../src/manifest.ts';
import { makeKernel, makeModule } from './kernels.ts';

const code = (wanted: string, text?: RegExp) => (thrown: unknown) => {
  assert.ok(thrown instanceof GodwitError, String(thrown));
  assert.equal(thrown.code, wanted);
  if (text) assert.match(thrown.message, text);
  return true;
};

describe('kernel', () => {
  it('is taken as it is, or unpacked', async () => {
    const kernel = makeKernel();
    assert.deepEqual(await bootableKernel(kernel, 'k'), kernel);
    assert.deepEqual(await bootableKernel(gzipSync(kernel), 'k'), kernel);
  });

  it('is refused for what it is', async () => {
    const arm = makeKernel();
    arm.write('ARM\x64', 56, 'latin1');
    const x86 = makeKernel();
    x86.write('none', 56, 'latin1');
    x86.write('HdrS', 0x202, 'latin1');
    const cases: [Buffer, RegExp][] = [
      [arm, /a kernel for arm64/],
      [x86, /a kernel for x86/],
      [makeModule([], 62), /an ELF file for x86-64/],
      [makeModule([]), /an ELF file for RISC-V, not a kernel Image/],
      [Buffer.alloc(4096), /not a RISC-V kernel Image/],
      [Buffer.alloc(0), /only 0 bytes/],
      [gzipSync(makeKernel()).subarray(0, 40), /gzip/],
    ];
    for (const [kernel, text] of cases) {
      await assert.rejects(bootableKernel(kernel, 'k'), code('image.bad_kernel', text));
    }
  });

  it('is refused at every truncation', async () => {
    const kernel = makeKernel(1_000);
    for (let bytes = 0; bytes < kernel.length; bytes++) {
      await assert.rejects(
        bootableKernel(kernel.subarray(0, bytes), 'k'),
        code('image.bad_kernel'),
      );
    }
  });

  it('with any header is taken or refused, nothing else', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 200 }), fc.nat(450), async (bytes, at) => {
        const kernel = makeKernel(64);
        kernel.set(bytes, Math.min(at, kernel.length - bytes.length));
        await bootableKernel(kernel, 'k').catch(code('image.bad_kernel'));
      }),
      { numRuns: 300 },
    );
  });
});

describe('initrd', () => {
  it('is a cpio archive, plain or compressed', () => {
    const archive = writeCpio([]);
    checkInitrd(archive, 'i');
    checkInitrd(gzipSync(archive), 'i');
    assert.throws(() => checkInitrd(Buffer.alloc(0), 'i'), code('image.bad_initrd', /empty/));
    assert.throws(() => checkInitrd(makeKernel(), 'i'), code('image.bad_initrd', /not a cpio/));
  });
});

describe('cpio', () => {
  it('writes the newc form, byte by byte', () => {
    const bytes = writeCpio([
      { path: 'ab', type: 'file', mode: 0o644, data: Buffer.from('hello') },
    ]);
    assert.equal(bytes.length % 512, 0);
    const head = bytes.toString('latin1', 0, 110);
    const fields = head
      .slice(6)
      .match(/.{8}/g)!
      .map((hex) => Number.parseInt(hex, 16));
    assert.equal(head.slice(0, 6), '070701');
    assert.deepEqual(fields, [1, 0o100644, 0, 0, 1, 0, 5, 0, 0, 0, 0, 3, 0]);
    assert.equal(bytes.toString('latin1', 110, 124), 'ab\0\0\0\0hello\0\0\0');
    assert.equal(bytes.indexOf('TRAILER!!!'), 124 + 110);
  });

  const noCpio = !existsSync('/usr/bin/cpio') && 'needs cpio: install Debian package cpio';

  it('is read by another cpio', { skip: noCpio }, () => {
    const archive = writeCpio([
      { path: 'd', type: 'directory' },
      { path: 'd/f', type: 'file', mode: 0o755, data: Buffer.alloc(1_001, 'f') },
      { path: 'l', type: 'link', to: 'd/f' },
      { path: 'c', type: 'character-device', major: 5, minor: 1 },
    ]);
    const listed = execFileSync('cpio', ['-itv', '--quiet'], { input: archive, encoding: 'utf8' });
    assert.match(
      listed,
      /^drwxr-xr-x .* d\n-rwxr-xr-x .* 1001 .* d\/f\nlrwxrwxrwx .* l -> d\/f\ncrw------- .* 5, +1 .* c\n$/,
    );
  });
});

describe('modules', () => {
  const info = (name: string, ...texts: string[]) =>
    readModuleInfo(makeModule([`name=${name}`, ...texts]), name);
  const table = (...infos: ReturnType<typeof info>[]) =>
    new Map(infos.map((each) => [each.name, each]));

  it('load after what they need, softly too', () => {
    const modules = table(
      info('ext4', 'depends=jbd2,crc16', 'softdep=pre: crc32c'),
      info('jbd2', 'depends=crc16'),
      info('crc16', 'depends='),
      info('crc32c_generic', 'alias=crypto-crc32c', 'depends='),
    );
    const order = loadOrder(modules, ['ext4'], 'm').map(({ name }) => name);
    assert.deepEqual(order, ['crc32c_generic', 'crc16', 'jbd2', 'ext4']);
  });

  it('that are missing, or need themselves, are named', () => {
    const bad = (text: RegExp) => code('image.bad_archive', text);
    assert.throws(
      () => loadOrder(table(info('a', 'depends=b')), ['a'], 'm'),
      bad(/no module b, which a needs/),
    );
    const circle = table(info('a', 'depends=b'), info('b', 'depends=a'));
    assert.throws(() => loadOrder(circle, ['a'], 'm'), bad(/needs itself/));
    assert.throws(() => readModuleInfo(makeModule([], 62), 'x'), bad(/not for RISC-V/));
  });

  it('are refused at every truncation, and survive any changed byte', () => {
    const module = makeModule(['name=m', 'depends=a,b']);
    for (let bytes = 0; bytes < module.length; bytes++) {
      assert.throws(
        () => readModuleInfo(module.subarray(0, bytes), 'm'),
        code('image.bad_archive'),
      );
    }
    fc.assert(
      fc.property(fc.nat(module.length - 1), fc.nat(255), (at, byte) => {
        const changed = Buffer.from(module);
        changed[at] = byte;
        try {
          readModuleInfo(changed, 'm');
        } catch (thrown) {
          code('image.bad_archive')(thrown);
        }
      }),
      { numRuns: 500 },
    );
  });
});

describe('initramfs', () => {
  const names = {
    virtio_mmio: [],
    virtio_blk: [],
    failover: [],
    net_failover: ['failover'],
    virtio_net: ['net_failover'],
    virtio_rng: [],
    ext4: ['crc16'],
    crc16: [],
    crc32c_generic: [],
    overlay: [],
  } as const;
  const parts = {
    kernelRelease: '6.12-test',
    busybox: Buffer.from('busybox'),
    what: 'p',
    module: async (name: string) =>
      Object.hasOwn(names, name)
        ? makeModule([`name=${name}`, `depends=${names[name as keyof typeof names].join()}`])
        : undefined,
  };

  it('is the same bytes every time', async () => {
    assert.ok((await buildInitramfs(parts)).equals(await buildInitramfs(parts)));
  });

  it('loads what devices need in order, and the rest on demand', async () => {
    const text = (await buildInitramfs(parts)).toString('latin1');
    const inOrder =
      'virtio_mmio.ko\nvirtio_blk.ko\nfailover.ko\nnet_failover.ko\nvirtio_net.ko\nvirtio_rng.ko\n';
    assert.ok(text.includes(inOrder));
    assert.ok(text.includes('virtio_net.ko: net_failover.ko failover.ko\n'));
    assert.ok(text.includes('ext4.ko: crc16.ko\n'));
  });

  it('names a module that the kernel does not have', async () => {
    const without = {
      ...parts,
      module: async (name: string) => (name === 'crc16' ? undefined : parts.module(name)),
    };
    await assert.rejects(
      buildInitramfs(without),
      code('image.bad_archive', /no module crc16, which ext4 needs/),
    );
  });
});

describe('manifest', () => {
  const file = { sha256: 'a'.repeat(64), bytes: 10 };
  const manifest = makeManifest({
    name: 'n',
    kernel: file,
    initrd: file,
    append: 'console=ttyS0',
    source: { kernel: 'k' },
  });

  it('is read back, and its digest is of what boots', () => {
    assert.deepEqual(parseManifest(manifestText(manifest)), manifest);
    const renamed = makeManifest({ ...manifest, name: 'other', source: {} });
    assert.equal(renamed.digest, manifest.digest);
    const quiet = makeManifest({ ...manifest, append: 'quiet' });
    assert.notEqual(quiet.digest, manifest.digest);
  });

  it('is refused when any field is not what it should be', () => {
    const wrong: Record<string, unknown>[] = [
      { format: 2 },
      { name: '../x' },
      { architecture: 'arm64' },
      { append: 'two\nlines' },
      { append: 'x'.repeat(2_000) },
      { kernel: { ...file, sha256: '../../etc/passwd' } },
      { kernel: { ...file, bytes: -1 } },
      { kernel: { ...file, bytes: 2 ** 40 } },
      { initrd: null },
      { source: ['x'] },
      { source: { kernel: 7 } },
      { digest: 'b'.repeat(64) },
    ];
    for (const change of wrong) {
      const text = JSON.stringify({ ...manifest, ...change });
      assert.throws(() => parseManifest(text), GodwitError, JSON.stringify(change));
    }
    fc.assert(
      fc.property(fc.json(), (text) => {
        assert.throws(() => parseManifest(text), GodwitError);
      }),
    );
  });
});

describe('index of an archive', () => {
  const digest = 'c'.repeat(64);

  it('is read from inside its signature', () => {
    const text = [
      '-----BEGIN PGP SIGNED MESSAGE-----',
      'Hash: SHA256',
      '',
      'Codename: trixie',
      'Description: Debian 13',
      'MD5Sum:',
      ' d41d8cd98f00b204e9800998ecf8427e 3 main/Packages',
      'SHA256:',
      ` ${digest} 3 main/Packages`,
      '-----BEGIN PGP SIGNATURE-----',
      '',
      'SHA256:',
      ` ${'d'.repeat(64)} 3 main/Packages`,
    ].join('\n');
    const release = readRelease(text, 'r');
    assert.equal(release.sha256.get('main/Packages'), digest);
    assert.equal(release.codename, 'trixie');
    assert.throws(() => readRelease(text.slice(0, 100), 'r'), code('image.bad_archive'));
    assert.throws(() => readRelease('', 'r'), code('image.bad_archive'));
  });

  it('has one stanza for each package', () => {
    const stanza = (name: string) =>
      `Package: ${name}\nVersion: 1:2-3\nDepends: x (= 1)\nSize: 10\nSHA256: ${digest}\n`;
    const index = `${stanza('one')}\n${stanza('two')}\n`;
    for (const name of ['one', 'two']) {
      const entry = { name, version: '1:2-3', sha256: digest, bytes: 10, depends: 'x (= 1)' };
      assert.deepEqual(findPackage(index, name, 'i'), entry);
    }
    assert.throws(() => findPackage(index, 'on', 'i'), code('image.bad_archive', /no package on/));
    const cut = index.slice(0, index.length - 20);
    assert.throws(() => findPackage(cut, 'two', 'i'), code('image.bad_archive', /not described/));
  });
});
