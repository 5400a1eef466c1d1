/**
 * `godwit guest create`: what the guest is made from, checked before anything is asked of a host.
 */
import { readFile } from 'node:fs/promises';
import type { CreateGuestRequest } from '@godwit/protocol';
import { GUEST_HARTS_MAX } from '@godwit/protocol';
import { type Command, Option } from 'commander';
import { type Call, type Context, does, leaf, withApi, withImageDir } from '../command.ts';
import { usageError } from '../errors.ts';
import { bytesText } from '../format.ts';
import {
  parseCount,
  parseInstructions,
  parseSize,
  parseWriteRate,
  sizeOption,
} from '../options.ts';
import { jsonDocument, progressScreen } from '../output.ts';
import { readElf } from './machine.ts';

/** Programs of a few hundred instructions that need no image directory. */
const BUILT_IN = ['hello', 'kv', 'churn'] as const;
const PATTERNS = ['idle', 'uniform', 'hotset', 'sequential', 'write-burst'] as const;
const CONTENTS = ['zero', 'random', 'compressible'] as const;
const WORKLOAD_ONLY = ['content', 'rate', 'hot', 'seed'].map(
  (name) => [name, `--${name}`, 'a workload'] as const,
);
const MEMORY_DEFAULT = 256 * 1024 * 1024;
const HOT_DEFAULT = 64 * 1024 * 1024;

interface CreateOptions {
  image?: string;
  append?: string;
  imageDir?: string;
  elf?: string;
  workload?: (typeof PATTERNS)[number];
  memory: number;
  harts: number;
  host?: string;
  clock: 'host' | 'instructions';
  stopAt?: number;
  content: (typeof CONTENTS)[number];
  rate: number;
  hot?: number;
  seed: number;
}

export function addGuestCreate(guest: Command, context: Context): void {
  const command = leaf(guest, 'create <name>', 'Create a guest and start it', [
    'godwit guest create web1 --image hello',
    'godwit guest create db1 --image kv --memory 64MiB --host a',
    'godwit guest create web1 --image debian-13 --memory 256MiB',
    'godwit guest create mem1 --workload hotset --memory 1GiB --hot 64MiB --rate 50MiB/s',
  ])
    .option('--image <name>', `an image (godwit image ls), or one of ${BUILT_IN.join(', ')}`)
    .option('--append <args>', "the kernel's command line, instead of the image's own")
    .option('--elf <file>', 'a bare-metal RISC-V program of your own')
    .addOption(new Option('--workload <pattern>', 'a synthetic guest').choices(PATTERNS))
    .addOption(sizeOption('--memory <size>', 'guest memory', MEMORY_DEFAULT))
    .option('--harts <n>', 'hardware threads', parseCount(1, GUEST_HARTS_MAX), 1)
    .option('--host <host>', 'where to start it (default: the host with the most free memory)')
    .addOption(
      new Option('--clock <clock>', 'guest time: real, or derived from instructions')
        .choices(['host', 'instructions'])
        .default('host'),
    )
    .option('--stop-at <n>', 'machine: stop at exactly this instruction', parseInstructions)
    .addOption(
      new Option('--content <content>', 'workload: what its pages hold')
        .choices(CONTENTS)
        .default('random'),
    )
    .addOption(
      new Option('--rate <rate>', 'workload: how fast it writes, or unlimited')
        .argParser(parseWriteRate)
        .default(50, '50MiB/s'),
    )
    .option(
      '--hot <size>',
      'size of the region that is written (default: 64MiB for hotset, else all)',
      parseSize,
    )
    .option('--seed <n>', 'workload: seed of contents and order', parseCount(0, 0xffff_ffff), 1);
  does<CreateOptions>(context, withApi(withImageDir(command)), async (call) => {
    const { api, args, io, options } = call;
    rejectMixedKinds(command, options);
    const created = await api.createGuest(await requestOf(args[0]!, call));
    if (options.json) io.out(jsonDocument(created));
    else {
      const memory = bytesText(created.memoryBytes);
      io.out(`${created.name}  ${created.kind}  ${memory}  ${created.state} on ${created.host}\n`);
    }
  });
}

/** An option that would silently do nothing is a mistake. */
function rejectMixedKinds(command: Command, options: CreateOptions): void {
  const kinds = [options.image, options.elf, options.workload].filter((kind) => kind !== undefined);
  if (kinds.length !== 1) {
    const what =
      kinds.length === 0 ? 'nothing to run was given' : 'more than one thing to run was given';
    throw usageError(what, 'give one of --image NAME, --elf FILE, --workload PATTERN');
  }
  const isKernel = options.image !== undefined && !isBuiltIn(options.image);
  const others: readonly (readonly [string, string, string])[] = [
    ...(options.workload === undefined
      ? WORKLOAD_ONLY
      : [['stopAt', '--stop-at', 'a machine'] as const]),
    ...(isKernel ? [] : [['append', '--append', 'an image with a kernel'] as const]),
  ];
  const wrong = others.find(([name]) => command.getOptionValueSource(name) === 'cli');
  if (wrong === undefined) return;
  throw usageError(`${wrong[1]} is for ${wrong[2]} only`, 'godwit guest create --help');
}

async function requestOf(name: string, call: Call<CreateOptions>): Promise<CreateGuestRequest> {
  const { options } = call;
  const common = {
    name,
    memoryBytes: options.memory,
    harts: options.harts,
    clock: options.clock,
    ...(options.host !== undefined && { host: options.host }),
  };
  if (options.workload !== undefined) {
    return { ...common, kind: 'workload', workload: workloadOf(options.workload, options) };
  }
  const machine = {
    ...common,
    kind: 'machine',
    image: options.image ?? options.elf ?? '',
    ...(options.stopAt !== undefined && { stopAt: options.stopAt }),
  } as const;
  if (options.image !== undefined && !isBuiltIn(options.image)) {
    return { ...machine, ...(await imageOf(call, options.image)) };
  }
  return { ...machine, elf: Buffer.from(await programOf(options)).toString('base64') };
}

/**
 * An image of this machine, brought to the cluster if nobody there has it; a name that this machine does
 * not know is left to the hosts. What images are kept by is loaded only when one is wanted.
 */
async function imageOf(
  { api, io, options }: Call<CreateOptions>,
  image: string,
): Promise<{ imageDigest?: string; append?: string }> {
  const { append } = options;
  const [{ openStore }, { ensureInCluster }] = await Promise.all([
    import('./image.ts'),
    import('../image-push.ts'),
  ]);
  const store = openStore(io, options);
  const here = (await store.list()).find(
    ({ names, manifest }) => names.includes(image) || manifest.digest === image,
  );
  if (here !== undefined) {
    const { manifest } = here;
    const screen = progressScreen(io);
    const onProgress = (percent: number) => screen.progress(`sending ${image}`, percent);
    const sentTo = await ensureInCluster({ api, store, manifest, onProgress }, options.host);
    screen.clear();
    if (sentTo !== undefined) io.err(`image ${image} sent to ${sentTo}\n`);
  }
  return {
    ...(here && { imageDigest: here.manifest.digest }),
    ...(append !== undefined && { append }),
  };
}

function isBuiltIn(image: string): image is (typeof BUILT_IN)[number] {
  return BUILT_IN.some((name) => name === image);
}

function workloadOf(
  pattern: (typeof PATTERNS)[number],
  options: CreateOptions,
): NonNullable<CreateGuestRequest['workload']> {
  const hotDefault = pattern === 'hotset' ? Math.min(HOT_DEFAULT, options.memory) : 0;
  return {
    pattern,
    content: options.content,
    seed: options.seed,
    ...(Number.isFinite(options.rate) && { rateMiBps: options.rate }),
    hotBytes: options.hot ?? hotDefault,
  };
}

/** The program's bytes. The machine package is loaded only when one of its own images is wanted. */
async function programOf(options: CreateOptions): Promise<Uint8Array> {
  if (options.elf !== undefined) return readElf(options.elf);
  const { guestImagePath } = await import('@godwit/machine');
  return readFile(guestImagePath(options.image as (typeof BUILT_IN)[number]));
}
