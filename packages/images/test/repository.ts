/**
 * A tiny archive of a distribution in a directory: one kernel, its modules, one busybox, signed.
 *
 * It has the layout that apt expects, so that the whole way of `image pull` is walked without a network.
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { makeDeb } from './archives.ts';
import { makeKernel, makeModule } from './kernels.ts';

const RELEASE = '6.12-test-riscv64';
const MODULES: readonly (readonly [string, string])[] = [
  ['virtio_mmio', ''],
  ['virtio_blk', ''],
  ['failover', ''],
  ['net_failover', 'failover'],
  ['virtio_net', 'net_failover'],
  ['virtio-rng', ''],
  ['ext4', ''],
  ['crc32c_generic', ''],
  ['overlay', ''],
];

/** A key pair of this test alone. `close` ends the agent that gpg started for it. */
export class Signer {
  readonly #home: string;
  readonly keyring: string;

  constructor(directory: string, name: string) {
    this.#home = join(directory, `gnupg-${name}`);
    this.keyring = join(directory, `${name}.gpg`);
    mkdirSync(this.#home, { mode: 0o700, recursive: true });
    this.#gpg(
      '--passphrase',
      '',
      '--quick-gen-key',
      `${name}@example.org`,
      'ed25519',
      'sign',
      'never',
    );
    this.#gpg('--output', this.keyring, '--export');
  }

  sign(input: string, output: string): void {
    this.#gpg('--yes', '--output', output, '--clearsign', input);
  }

  close(): void {
    execFileSync('gpgconf', ['--homedir', this.#home, '--kill', 'all']);
  }

  #gpg(...args: string[]): void {
    execFileSync('gpg', ['--homedir', this.#home, '--batch', '--quiet', ...args], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
  }
}

export interface RepositoryOptions {
  readonly signer?: Signer;
  readonly version?: string;
  /** Makes the package's bytes other than the index says. */
  readonly damage?: (deb: Buffer) => Buffer;
  readonly codename?: string;
}

/** Writes it. @returns its address for apt */
export function writeRepository(directory: string, options: RepositoryOptions = {}): string {
  const { version = '1.0-1', damage = (deb) => deb, codename = 'trixie' } = options;
  const kernel = makeDeb(
    [
      { name: `./boot/vmlinux-${RELEASE}`, data: makeKernel() },
      ...MODULES.map(([name, depends]) => ({
        name: `./usr/lib/modules/${RELEASE}/kernel/${name}.ko`,
        data: makeModule([`name=${name.replaceAll('-', '_')}`, `depends=${depends}`]),
      })),
    ],
    'data.tar',
  );
  const busybox = makeDeb(
    [{ name: './usr/bin/busybox', data: Buffer.from(`busybox ${version}`) }],
    'data.tar',
  );
  const stanzas = [
    stanza(
      'linux-image-riscv64',
      version,
      Buffer.alloc(0),
      `Depends: linux-image-${RELEASE} (= ${version})\n`,
    ),
    put(directory, `linux-image-${RELEASE}`, version, kernel, damage),
    put(directory, 'busybox-static', version, busybox, (deb) => deb),
  ];
  const index = Buffer.from(stanzas.join('\n'));
  const folder = join(directory, 'dists', 'trixie', 'main', 'binary-riscv64');
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'Packages'), index);
  const release = [
    'Origin: Test',
    'Suite: stable',
    `Codename: ${codename}`,
    'Description: Test 13',
    'Date: Sun, 01 Nov 2026 00:00:00 UTC',
    'Architectures: riscv64',
    'Components: main',
    'SHA256:',
    ` ${sha256(index)} ${index.length} main/binary-riscv64/Packages`,
    '',
  ].join('\n');
  const plain = join(directory, 'dists', 'trixie', 'Release');
  writeFileSync(plain, release);
  options.signer?.sign(plain, join(directory, 'dists', 'trixie', 'InRelease'));
  return `copy:${directory}`;
}

function put(
  directory: string,
  name: string,
  version: string,
  deb: Buffer,
  damage: (deb: Buffer) => Buffer,
): string {
  mkdirSync(join(directory, 'pool'), { recursive: true });
  writeFileSync(join(directory, 'pool', `${name}_${version}.deb`), damage(deb));
  return stanza(name, version, deb, '');
}

function stanza(name: string, version: string, deb: Buffer, more: string): string {
  return [
    `Package: ${name}`,
    'Architecture: riscv64',
    'Maintainer: test',
    `Version: ${version}`,
    `Filename: pool/${name}_${version}.deb`,
    `Size: ${deb.length}`,
    `SHA256: ${sha256(deb)}`,
    `Description: ${name}`,
    more,
  ].join('\n');
}

function sha256(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}
