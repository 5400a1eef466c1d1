/**
 * Makes an image of a distribution's own kernel: `godwit image pull debian-13`.
 *
 *   apt -> InRelease -> Packages -> two packages -> kernel, modules, busybox -> initramfs -> store
 *
 * Nothing of it is compiled here, and nothing is changed: the kernel is the package's own file. Every link
 * of the chain from the signed release to the packages' bytes is checked, and what could not be checked
 * (a machine without the keys) is said. What is interrupted is taken up again by the next pull; the image
 * of before stays until the new one is whole.
 */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { GodwitError } from '@godwit/protocol';
import { Apt } from './apt.ts';
import { readDeb } from './deb.ts';
import { findPackage, type PackageEntry, readRelease } from './debian-index.ts';
import { compressionOf, decompressAll } from './decompress.ts';
import { buildInitramfs, initramfsVersion } from './initramfs.ts';
import { bootableKernel } from './kernel-image.ts';
import { moduleName } from './kernel-module.ts';
import { DEB_BYTES_MAX, FILE_BYTES_MAX, INDEX_BYTES_MAX } from './limits.ts';
import { type Manifest, makeManifest } from './manifest.ts';
import { type ImageStore, storeError } from './store.ts';

/** What can be pulled. */
const RECIPES: { readonly [name: string]: { readonly suite: string } } = {
  'debian-13': { suite: 'trixie' },
};
export const PULLABLE = Object.keys(RECIPES);

/**
 * A kernel that cannot start, in too little RAM for example, says so early or never. Its self-tests of its
 * cryptography are half of a boot; the rest is as the kernel likes it.
 */
export const APPEND_DEFAULT = 'console=ttyS0 earlycon cryptomgr.notests';

const ARCHITECTURE = 'riscv64';
const COMPONENT = 'main';
const INDEX_PATH = `${COMPONENT}/binary-${ARCHITECTURE}/Packages`;
const KERNEL_PACKAGE = 'linux-image-riscv64';
const BUSYBOX_PACKAGE = 'busybox-static';

export interface PullOptions {
  readonly name: string;
  readonly store: ImageStore;
  readonly keyring?: string | undefined;
  readonly mirror?: string | undefined;
  readonly append?: string | undefined;
  readonly signal: AbortSignal;
  /** One line about what is being done or was found. */
  note(text: string): void;
  /** How far a download is, for a line that is written over. */
  onProgress(what: string, percent: number): void;
}

export interface Pulled {
  readonly manifest: Manifest;
  /** It was here already, made of the same packages. */
  readonly isUpToDate: boolean;
}

/**
 * @throws GodwitError `image.not_found` (no such recipe), `image.pull_failed`, `image.digest`,
 *   `image.bad_archive`, `image.no_space`, `image.store`
 */
export async function pullImage(options: PullOptions): Promise<Pulled> {
  const { name, store, note } = options;
  const recipe = Object.hasOwn(RECIPES, name) ? RECIPES[name]! : undefined;
  if (recipe === undefined) {
    throw new GodwitError('image.not_found', { image: name, known: PULLABLE.join(', ') });
  }
  const directory = join(store.directory, 'pull', name);
  const apt = new Apt({
    directory,
    suite: recipe.suite,
    component: COMPONENT,
    architecture: ARCHITECTURE,
    keyring: options.keyring,
    mirror: options.mirror,
    image: name,
    signal: options.signal,
    onProgress: options.onProgress,
  });
  await apt.update();
  const plan = await readPlan(apt, recipe.suite, options);
  const source = await sourceOf(plan);
  const before = await currentImage(store, name, source, options.append);
  if (before !== undefined) {
    await rm(directory, { recursive: true, force: true });
    return { manifest: before, isUpToDate: true };
  }
  const kernelDeb = await fetchPackage(apt, plan.kernel, options);
  const busyboxDeb = await fetchPackage(apt, plan.busybox, options);
  note('packages: sha256 as in the index');
  const manifest = await build({ options, source, kernelDeb, busyboxDeb, plan });
  await rm(directory, { recursive: true, force: true });
  return { manifest, isUpToDate: false };
}

interface Plan {
  readonly release: string;
  readonly signature: string;
  readonly kernel: PackageEntry;
  readonly busybox: PackageEntry;
}

/** From the release file to the packages, each digest checked on the way. */
async function readPlan(apt: Apt, suite: string, { note, name }: PullOptions): Promise<Plan> {
  const release = readRelease(await apt.release(), `release file of ${suite}`);
  if (release.codename !== suite) {
    const why = `the release is ${release.codename}, not ${suite}`;
    throw new GodwitError('image.pull_failed', { image: name, why });
  }
  const signature =
    apt.keyring === undefined
      ? 'NOT checked: gpgv (or sqv) or the keyring of Debian is not installed here'
      : `good, by a key of ${apt.keyring}`;
  note(`release: ${release.description}; signature ${signature}`);
  const path = await apt.index();
  const expected = release.sha256.get(INDEX_PATH);
  const found = await sha256Of(path);
  if (found !== expected) {
    throw new GodwitError('image.digest', {
      what: 'index of packages',
      expected: expected ?? 'none',
      found,
    });
  }
  note('index of packages: sha256 as in the release');
  const index = await readFile(path, { encoding: 'latin1' });
  if (index.length > INDEX_BYTES_MAX) {
    throw new GodwitError('image.bad_archive', { what: 'index of packages', why: 'too large' });
  }
  const what = `index of ${suite}`;
  const depends = findPackage(index, KERNEL_PACKAGE, what).depends;
  const kernelName = /\blinux-image-[^\s,(]+/.exec(depends)?.[0] ?? KERNEL_PACKAGE;
  return {
    release: release.description,
    signature,
    kernel: findPackage(index, kernelName, what),
    busybox: findPackage(index, BUSYBOX_PACKAGE, what),
  };
}

async function sourceOf({ release, signature, kernel, busybox }: Plan) {
  const text = (entry: PackageEntry) => `${entry.name} ${entry.version} sha256:${entry.sha256}`;
  return {
    release,
    signature,
    kernel: text(kernel),
    busybox: text(busybox),
    initramfs: await initramfsVersion(),
  };
}

type Source = Awaited<ReturnType<typeof sourceOf>>;

/** The image of that name when it was made of the same things in the same way. */
async function currentImage(
  store: ImageStore,
  name: string,
  source: Source,
  append = APPEND_DEFAULT,
): Promise<Manifest | undefined> {
  const digest = await store.digestNamed(name);
  const manifest = digest === undefined ? undefined : await store.get(digest);
  const decides = ['kernel', 'busybox', 'initramfs'] as const;
  const isSame = manifest && decides.every((label) => manifest.source[label] === source[label]);
  return isSame && manifest.append === append ? manifest : undefined;
}

/** @throws GodwitError `image.digest`, `image.pull_failed` */
async function fetchPackage(apt: Apt, entry: PackageEntry, { name }: PullOptions): Promise<string> {
  if (entry.bytes > DEB_BYTES_MAX) {
    const why = `package ${entry.name} has ${entry.bytes} bytes`;
    throw new GodwitError('image.pull_failed', { image: name, why });
  }
  const path = await apt.download(entry.name, entry.version);
  const found = await sha256Of(path);
  if (found === entry.sha256) return path;
  await rm(path, { force: true });
  const what = `package ${entry.name}`;
  throw new GodwitError('image.digest', { what, expected: entry.sha256, found });
}

async function build(from: {
  options: PullOptions;
  plan: Plan;
  source: Source;
  kernelDeb: string;
  busyboxDeb: string;
}): Promise<Manifest> {
  const { options, plan, source } = from;
  const { store, name, note, append = APPEND_DEFAULT } = options;
  const what = `package ${plan.kernel.name}`;
  note(`unpacking ${plan.kernel.name} ${plan.kernel.version}`);
  const files = await readDeb(
    from.kernelDeb,
    what,
    (path) => /^boot\/vmlinu[xz]-[^/]+$/.test(path) || /\.ko(\.\w+)?$/.test(path),
  );
  const kernelPath = [...files.keys()].find((path) => path.startsWith('boot/'));
  const busybox = await readDeb(
    from.busyboxDeb,
    `package ${plan.busybox.name}`,
    (path) => path === 'usr/bin/busybox' || path === 'bin/busybox',
  );
  const [program] = busybox.values();
  if (kernelPath === undefined || program === undefined) {
    const missing = kernelPath === undefined ? `${what}: kernel` : 'busybox';
    throw new GodwitError('image.bad_archive', { what: missing, why: 'not in the package' });
  }
  const modules = new Map([...files.keys()].map((path) => [moduleName(path), path]));
  const initrd = await buildInitramfs({
    kernelRelease: kernelPath.replace(/^boot\/vmlinu[xz]-/, ''),
    busybox: program,
    what,
    module: async (module) => {
      const path = modules.get(module);
      if (path === undefined) return undefined;
      return decompressAll(files.get(path)!, compressionOf(path), FILE_BYTES_MAX, path);
    },
  });
  const kernel = await bootableKernel(files.get(kernelPath)!, `${what}, ${kernelPath}`);
  if (options.signal.aborted) {
    throw new GodwitError('image.pull_failed', { image: name, why: 'interrupted' });
  }
  const manifest = makeManifest({
    name,
    kernel: await store.addBlob(once(kernel)),
    initrd: await store.addBlob(once(initrd)),
    append,
    source,
  });
  await store.addManifest(manifest);
  await store.setName(name, manifest.digest);
  return manifest;
}

async function sha256Of(path: string): Promise<string> {
  const hash = createHash('sha256');
  try {
    for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 })) {
      hash.update(chunk as Buffer);
    }
  } catch (thrown) {
    throw storeError(thrown, path);
  }
  return hash.digest('hex');
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array, void> {
  yield bytes;
}
