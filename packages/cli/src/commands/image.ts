/**
 * `godwit image`: what a machine guest boots from, as this machine keeps it.
 *
 *   pull, import -> image directory -> guest create --image, agents on this machine
 *
 * The directory is shared with the agents of this machine; other hosts fetch from there what they lack.
 */
import {
  APPEND_DEFAULT,
  ImageStore,
  imageDirectory,
  importImage,
  type Manifest,
  PULLABLE,
  pullImage,
  type StoredImage,
} from '@godwit/images';
import { GodwitError, type Image } from '@godwit/protocol';
import type { Command } from 'commander';
import type { ApiClient } from '../api-client.ts';
import { type Context, does, group, leaf, withApi, withImageDir } from '../command.ts';
import { CommandError, EXIT } from '../errors.ts';
import { bytesText } from '../format.ts';
import { pushImage } from '../image-push.ts';
import type { Io } from '../io.ts';
import { jsonDocument, progressScreen, table } from '../output.ts';

const DIGEST_SHOWN_CHARS = 12;

interface StoreOptions {
  readonly imageDir?: string;
}

export function addImageCommands(program: Command, context: Context): void {
  const image = group(program, 'image', 'images: what machine guests boot from');
  addImagePull(image, context);
  addImageImport(image, context);
  addImageLists(image, context);
  addImagePush(image, context);
  addImageRemove(image, context);
}

export function openStore(io: Io, { imageDir }: StoreOptions): ImageStore {
  return new ImageStore(imageDirectory(imageDir, io.env));
}

function addImagePull(image: Command, context: Context): void {
  const pull = leaf(image, 'pull <name>', 'Make an image of the kernel of a distribution', [
    'godwit image pull debian-13',
    'godwit image pull debian-13 --image-dir /srv/images --json',
  ])
    .description(
      `Make an image of the kernel of a distribution (${PULLABLE.join(', ')}): its unmodified kernel, the\n` +
        'modules for our devices, and busybox. Packages come from where the apt of this machine gets its\n' +
        'own; signature and digests are checked, and what cannot be checked is said.',
    )
    .option('--append <args>', `the kernel's command line (default: ${APPEND_DEFAULT})`)
    .option('--mirror <url>', "an archive of the distribution, instead of apt's own sources")
    .option(
      '--keyring <file>',
      'public keys that must have signed it, instead of the installed ones',
    )
    .option('--json', 'print the image as JSON');
  interface Options extends StoreOptions {
    append?: string;
    mirror?: string;
    keyring?: string;
  }
  does<Options>(context, withImageDir(pull), async ({ io, args, options }) => {
    const store = openStore(io, options);
    const stop = new AbortController();
    const release = io.onSignal(() => stop.abort());
    const screen = progressScreen(io);
    try {
      const { manifest, isUpToDate } = await pullImage({
        name: args[0]!,
        store,
        append: options.append,
        mirror: options.mirror,
        keyring: options.keyring,
        signal: stop.signal,
        note: screen.note,
        onProgress: (what, percent) => screen.progress(`fetching ${what}`, percent),
      });
      screen.clear();
      if (options.json) io.out(jsonDocument(manifest));
      else io.out(`${madeText(manifest)}${isUpToDate ? '  (was up to date)' : ''}\n`);
      return EXIT.ok;
    } catch (error) {
      screen.clear();
      if (stop.signal.aborted) throw interrupted(args[0]!);
      throw error;
    } finally {
      release();
    }
  });
}

function addImageImport(image: Command, context: Context): void {
  const command = leaf(image, 'import', 'Make an image of a kernel and an initrd of your own', [
    'godwit image import --kernel Image --initrd initrd.cpio.gz --name mine',
    "godwit image import --kernel Image --initrd initrd.gz --name mine --append 'console=ttyS0 quiet'",
  ])
    .requiredOption('--kernel <file>', 'a 64-bit RISC-V kernel Image, plain or compressed')
    .requiredOption('--initrd <file>', 'a cpio archive, plain or compressed')
    .option('--name <name>', 'what to call it', 'imported')
    .option('--append <args>', "the kernel's command line", APPEND_DEFAULT)
    .option('--json', 'print the image as JSON');
  interface Options extends StoreOptions {
    kernel: string;
    initrd: string;
    name: string;
    append: string;
  }
  does<Options>(context, withImageDir(command), async ({ io, options }) => {
    const { kernel, initrd, name, append } = options;
    const store = openStore(io, options);
    const manifest = await importImage({ store, kernel, initrd, name, append });
    io.out(options.json ? jsonDocument(manifest) : `${madeText(manifest)}\n`);
  });
}

function addImageLists(image: Command, context: Context): void {
  const ls = leaf(image, 'ls', 'List the images of this machine, or of the hosts', [
    'godwit image ls',
    'godwit image ls --json | jq -r .[].digest',
    'godwit image ls --cluster',
  ]).option('--cluster', 'what the hosts of the cluster hold, instead of this machine');
  interface ListOptions extends StoreOptions {
    cluster?: boolean;
  }
  does<ListOptions>(context, withApi(withImageDir(ls.alias('list'))), async (call) => {
    const { io, options } = call;
    if (options.cluster) {
      const images = await call.api.images();
      io.out(options.json ? jsonDocument(images) : clusterTable(images));
      return;
    }
    const images = await openStore(io, options).list();
    io.out(options.json ? jsonDocument(images.map(jsonOf)) : imageTable(images));
  });

  const show = leaf(image, 'show <image>', 'Show one image: its files, and where they are from', [
    'godwit image show debian-13',
  ]).option('--json', 'print the image as JSON');
  does<StoreOptions>(context, withImageDir(show), async ({ io, args, options }) => {
    const found = await openStore(io, options).find(args[0]!);
    io.out(options.json ? jsonDocument(jsonOf(found)) : imageText(found));
  });
}

function addImagePush(image: Command, context: Context): void {
  const push = leaf(image, 'push <image>', 'Send an image of this machine to a host', [
    'godwit image push debian-13 --host b',
  ])
    .description(
      'Send an image of this machine to a host. Not needed before guest create, which does it by itself;\n' +
        'hosts fetch from each other what they lack.',
    )
    .requiredOption('--host <host>', 'where to send it');
  interface Options extends StoreOptions {
    host: string;
  }
  does<Options>(context, withApi(withImageDir(push)), async ({ api, io, args, options }) => {
    const store = openStore(io, options);
    const { manifest } = await store.find(args[0]!);
    const host = await api.host(options.host);
    const screen = progressScreen(io);
    const onProgress = (percent: number) => screen.progress(`sending ${args[0]}`, percent);
    const isNew = await pushImage({ api, store, manifest, onProgress }, host);
    screen.clear();
    const { digest } = manifest;
    if (options.json) io.out(jsonDocument({ digest, host: host.name, sent: isNew }));
    else io.out(`${args[0]} ${isNew ? 'sent to' : 'was on'} ${host.name}\n`);
  });
}

function addImageRemove(image: Command, context: Context): void {
  const rm = leaf(image, 'rm <image>', 'Remove an image from this machine', [
    'godwit image rm debian-13',
    'godwit image rm 202643af6fc5',
  ]).option('--force', 'although guests use it: they will not find it when they reboot');
  interface Options extends StoreOptions {
    force?: boolean;
  }
  does<Options>(context, withApi(withImageDir(rm.alias('remove'))), async (call) => {
    const { io, args, options } = call;
    const store = openStore(io, options);
    const { manifest } = await store.find(args[0]!);
    if (!options.force) await notInUse(call.api, manifest.digest, args[0]!, io);
    const bytes = await store.remove(manifest.digest);
    if (options.json) io.out(jsonDocument({ digest: manifest.digest, bytes }));
    else io.out(`${args[0]} removed, ${bytesText(bytes)} free again\n`);
  });
}

/** @throws GodwitError `image.in_use`. A cluster that is not there uses nothing. */
async function notInUse(api: ApiClient, digest: string, image: string, io: Io): Promise<void> {
  try {
    const users = (await api.guests()).filter(
      ({ imageDigest, state }) => imageDigest === digest && state !== 'ended',
    );
    if (users.length === 0) return;
    const guests = users.map(({ name }) => `guest ${name}`).join(', ');
    throw new GodwitError('image.in_use', { image, guests });
  } catch (error) {
    if ((error as { code?: string }).code !== 'coordinator.unreachable') throw error;
    io.err('no coordinator was there to ask whether guests use it\n');
  }
}

/** A manifest with the names that stand for it now. */
function jsonOf({ manifest, names }: StoredImage): object {
  return { ...manifest, names };
}

function madeText(manifest: Manifest): string {
  return `${manifest.name}  ${short(manifest.digest)}  ${sizeText(manifest)}`;
}

function imageTable(images: readonly StoredImage[]): string {
  return table(
    ['IMAGE', 'DIGEST', 'SIZE', 'KERNEL'],
    images.map(({ manifest, names }) => [
      names.join(',') || '-',
      short(manifest.digest),
      sizeText(manifest),
      (manifest.source.kernel ?? '-').replace(/ sha256:.*$/, ''),
    ]),
  );
}

function clusterTable(images: readonly Image[]): string {
  return table(
    ['IMAGE', 'DIGEST', 'HOSTS'],
    images.map(({ names, digest, hosts }) => [
      names.join(',') || '-',
      short(digest),
      hosts.join(','),
    ]),
  );
}

function imageText({ manifest, names }: StoredImage): string {
  const { kernel, initrd, source } = manifest;
  const facts: [string, string][] = [
    ['digest', manifest.digest],
    ['kernel', `${bytesText(kernel.bytes)}, sha256 ${kernel.sha256}`],
    ...(initrd
      ? [['initrd', `${bytesText(initrd.bytes)}, sha256 ${initrd.sha256}`] as [string, string]]
      : []),
    ['append', manifest.append],
    ...Object.entries(source).map(([label, text]): [string, string] => [`from ${label}`, text]),
  ];
  const lines = facts.map(([label, value]) => `  ${label.padEnd(16)}${value}`);
  return `${names.join(', ') || short(manifest.digest)}\n${lines.join('\n')}\n`;
}

function sizeText({ kernel, initrd }: Manifest): string {
  return bytesText(kernel.bytes + (initrd?.bytes ?? 0));
}

function short(digest: string): string {
  return digest.slice(0, DIGEST_SHOWN_CHARS);
}

function interrupted(name: string): CommandError {
  return new CommandError({
    code: 'interrupted',
    exit: EXIT.interrupted,
    message: `pull of ${name} interrupted`,
    hint: `nothing was changed; godwit image pull ${name} goes on`,
  });
}
