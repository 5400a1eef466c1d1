/**
 * The first root of a pulled image: busybox, the modules our machine's devices need, and our scripts.
 *
 *   busybox, modules, guest/* -> [initramfs] -> cpio bytes
 *
 * /lib/modules/VERSION holds the modules with the tables that modprobe reads, so that mounting ext4 loads
 * ext4; /lib/modules/boot.order lists those that guest/init loads at once. Same input, same bytes.
 */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { type CpioEntry, writeCpio } from './cpio.ts';
import { loadOrder, type ModuleInfo, moduleName, readModuleInfo } from './kernel-module.ts';

/** What the shell on the console prints when the system is up (guest/profile). */
export const READY_LINE = 'godwit: ready';

/** Loaded at boot: the devices of our machine. */
const MODULES_AT_BOOT = ['virtio_mmio', 'virtio_blk', 'virtio_net', 'virtio_rng'];
/** Loaded when wanted. ext4 asks for the checksum by its alias only. */
const MODULES_ON_DEMAND = ['ext4', 'crc32c_generic', 'overlay'];

/** Raised when this file puts the same parts together in another way. */
const FORM = 1;
const SCRIPTS = ['sleeper', 'checksummer'] as const;
const DIRECTORIES = ['bin', 'dev', 'etc', 'lib', 'lib/modules', 'usr', 'usr/bin'];

export interface InitramfsParts {
  /** As `uname -r` says it. */
  readonly kernelRelease: string;
  readonly busybox: Buffer;
  /** A module of this kernel by its name, unpacked; nothing when the kernel has no such module. */
  readonly module: (name: string) => Promise<Buffer | undefined>;
  /** For errors: where the modules are from. */
  readonly what: string;
}

/** @throws GodwitError `image.bad_archive`: a module is missing or is none */
export async function buildInitramfs(parts: InitramfsParts): Promise<Buffer> {
  const files = new Map<string, Buffer>();
  const infos = new Map<string, ModuleInfo>();
  const wanted = [...MODULES_AT_BOOT, ...MODULES_ON_DEMAND];
  for (const name of wanted) {
    const bytes = infos.has(name) ? undefined : await parts.module(name);
    if (bytes === undefined) continue; // What is missing and needed, loadOrder names.
    const info = readModuleInfo(bytes, `${parts.what}, module ${name}`);
    infos.set(name, info);
    files.set(name, bytes);
    wanted.push(...info.depends, ...info.before.map(moduleName));
  }
  const atBoot = loadOrder(infos, MODULES_AT_BOOT, parts.what);
  const all = loadOrder(infos, [...MODULES_AT_BOOT, ...MODULES_ON_DEMAND], parts.what);
  const directory = `lib/modules/${parts.kernelRelease}`;
  return writeCpio([
    ...DIRECTORIES.map((path) => ({ path, type: 'directory' }) as const),
    { path: directory, type: 'directory' },
    // The kernel's own archive has it too; without it nothing can be said before /dev is mounted.
    { path: 'dev/console', type: 'character-device', major: 5, minor: 1 },
    ...all.map(({ name }) => file(`${directory}/${name}.ko`, 0o644, files.get(name)!)),
    text(`${directory}/modules.dep`, dependencies(all)),
    text(`${directory}/modules.alias`, aliases(all)),
    text('lib/modules/boot.order', atBoot.map(({ name }) => `${name}.ko\n`).join('')),
    file('bin/busybox', 0o755, parts.busybox),
    { path: 'bin/sh', type: 'link', to: 'busybox' },
    file('init', 0o755, await script('init')),
    file('etc/profile', 0o644, await script('profile')),
    ...(await Promise.all(
      SCRIPTS.map(async (name) => file(`usr/bin/${name}`, 0o755, await script(name))),
    )),
  ]);
}

/** modules.dep: "file: all that it needs, the last to be loaded first". */
function dependencies(order: readonly ModuleInfo[]): string {
  const needs = (module: ModuleInfo): string[] => {
    const closure = order.slice(0, order.indexOf(module));
    const direct = new Set(module.depends);
    const wanted = closure.filter((each) => direct.has(each.name));
    return [...new Set(wanted.toReversed().flatMap((each) => [each.name, ...needs(each)]))];
  };
  const line = (module: ModuleInfo) =>
    [`${module.name}.ko:`, ...needs(module).map((name) => `${name}.ko`)].join(' ');
  return order.map((module) => `${line(module)}\n`).join('');
}

function aliases(order: readonly ModuleInfo[]): string {
  return order
    .flatMap((module) => module.aliases.map((alias) => `alias ${alias} ${module.name}\n`))
    .join('');
}

function file(path: string, mode: number, data: Uint8Array): CpioEntry {
  return { path, type: 'file', mode, data };
}

function text(path: string, data: string): CpioEntry {
  return file(path, 0o644, Buffer.from(data));
}

function script(name: string): Promise<Buffer> {
  return readFile(new URL(`../guest/${name}`, import.meta.url));
}

/** Changes when the same packages would give other bytes: our scripts, the list of modules, the form. */
export async function initramfsVersion(): Promise<string> {
  const hash = createHash('sha256').update(
    JSON.stringify([FORM, MODULES_AT_BOOT, MODULES_ON_DEMAND]),
  );
  for (const name of ['init', 'profile', ...SCRIPTS]) hash.update(await script(name));
  return `sha256:${hash.digest('hex')}`;
}
