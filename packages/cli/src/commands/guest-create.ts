/**
 * `godwit guest create`: what the guest is made from, checked before anything is asked of a host.
 */
import { readFile } from 'node:fs/promises';
import type { CreateGuestRequest } from '@godwit/protocol';
import { GUEST_HARTS_MAX } from '@godwit/protocol';
import { type Command, Option } from 'commander';
import { type Context, does, leaf, withApi } from '../command.ts';
import { usageError } from '../errors.ts';
import { bytesText } from '../format.ts';
import {
  parseCount,
  parseInstructions,
  parseSize,
  parseWriteRate,
  sizeOption,
} from '../options.ts';
import { jsonDocument } from '../output.ts';
import { readElf } from './machine.ts';

const IMAGES = ['hello', 'kv', 'churn'] as const;
const PATTERNS = ['idle', 'uniform', 'hotset', 'sequential', 'write-burst'] as const;
const CONTENTS = ['zero', 'random', 'compressible'] as const;
const MEMORY_DEFAULT = 256 * 1024 * 1024;
const HOT_DEFAULT = 64 * 1024 * 1024;

interface CreateOptions {
  image?: (typeof IMAGES)[number];
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
    'godwit guest create mem1 --workload hotset --memory 1GiB --hot 64MiB --rate 50MiB/s',
  ])
    .addOption(new Option('--image <name>', 'a program that comes with godwit').choices(IMAGES))
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
    .option('--hot <size>', 'workload hotset: size of the hot set (default: 64MiB)', parseSize)
    .option('--seed <n>', 'workload: seed of contents and order', parseCount(0, 0xffff_ffff), 1);
  does<CreateOptions>(context, withApi(command), async ({ api, args, io, options }) => {
    rejectMixedKinds(command, options);
    const created = await api.createGuest(await requestOf(args[0]!, options));
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
  const others = options.workload === undefined ? ['content', 'rate', 'hot', 'seed'] : ['stopAt'];
  const given = others.filter((name) => command.getOptionValueSource(name) === 'cli');
  if (given.length > 0) {
    const flag = given[0] === 'stopAt' ? '--stop-at' : `--${given[0]}`;
    const kind = options.workload === undefined ? 'a workload' : 'a machine';
    throw usageError(`${flag} is for ${kind} only`, 'godwit guest create --help');
  }
}

async function requestOf(name: string, options: CreateOptions): Promise<CreateGuestRequest> {
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
  return {
    ...common,
    kind: 'machine',
    image: options.image ?? options.elf ?? '',
    elf: Buffer.from(await programOf(options)).toString('base64'),
    ...(options.stopAt !== undefined && { stopAt: options.stopAt }),
  };
}

function workloadOf(
  pattern: (typeof PATTERNS)[number],
  options: CreateOptions,
): NonNullable<CreateGuestRequest['workload']> {
  const hotBytes = options.hot ?? Math.min(HOT_DEFAULT, options.memory);
  return {
    pattern,
    content: options.content,
    seed: options.seed,
    ...(Number.isFinite(options.rate) && { rateMiBps: options.rate }),
    ...(pattern === 'hotset' && { hotBytes }),
  };
}

/** The program's bytes. The machine package is loaded only when one of its own images is wanted. */
async function programOf(options: CreateOptions): Promise<Uint8Array> {
  if (options.elf !== undefined) return readElf(options.elf);
  const { guestImagePath } = await import('@godwit/machine');
  return readFile(guestImagePath(options.image!));
}
