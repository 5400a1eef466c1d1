/**
 * A Linux guest for tests, when a built one lies at hand: GODWIT_GUEST_IMAGE names a folder with `Image`,
 * `initrd.cpio.gz` (busybox, a shell on the console) and `initrd-tiny.cpio.gz` (says that it is there and
 * powers off). Without it the tests of this kind are skipped: nothing else here needs a kernel.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import * as map from '../../assembly/memory-map.ts';
import { ConsoleRing } from '../../src/console-ring.ts';
import { GuestMemory } from '../../src/guest-memory.ts';
import { loadLinux } from '../../src/linux-loader.ts';
import { guestEnd, loadMachine, retiredInstructions } from '../../src/machine.ts';

const FOLDER = process.env.GODWIT_GUEST_IMAGE;
const FILES = 'Image, initrd.cpio.gz and initrd-tiny.cpio.gz';
const MIB = 1048576;
/** As images have it: half of a boot are the self-tests of the kernel's cryptography. */
const BOOTARGS = 'console=ttyS0 earlycon cryptomgr.notests';

/** A test that is skipped, and says what it lacks, where there is no image. */
export function linuxTest(name: string, body: (t: TestContext) => Promise<void>): void {
  const skip = !FOLDER && `needs GODWIT_GUEST_IMAGE=DIR with ${FILES}`;
  test(name, { skip }, body);
}

export interface LinuxGuest {
  readonly initrd: 'initrd.cpio.gz' | 'initrd-tiny.cpio.gz' | undefined;
  readonly memoryMiB: number;
  readonly clock?: 'host' | 'instructions';
}

export function makeLinux({ initrd, memoryMiB, clock = 'instructions' }: LinuxGuest): GuestMemory {
  const guest = GuestMemory.create({ ramBytes: memoryMiB * MIB, harts: 1 });
  const file = (name: string) => readFileSync(join(FOLDER!, name));
  loadLinux(guest, {
    kernel: file('Image'),
    initrd: initrd && file(initrd),
    bootargs: BOOTARGS,
    seed: new Uint8Array(32).fill(1),
    clock,
  });
  return guest;
}

export interface Dialogue {
  /** Typed when `after` has appeared on the console, each once, in this order. */
  readonly after: string;
  readonly type: string;
}

/**
 * Runs the guest on this thread until it ends, or has said `last`; answers all it printed.
 *
 * @throws Error when it is idle for ever or takes more instructions than any boot
 */
export function runToEnd(
  guest: GuestMemory,
  dialogue: readonly Dialogue[] = [],
  last?: RegExp,
): string {
  const machine = loadMachine(guest.memory);
  const ring = new ConsoleRing(guest);
  ring.listen(true);
  guest.setControl(map.CONTROL_RUN, map.RUN_GO);
  let text = '';
  let said = 0;
  while (guestEnd(guest) === undefined && last?.test(text) !== true) {
    const reason = machine.run(0, INSTRUCTIONS_TURN, false);
    const { bytes } = ring.readOutput(ring.acknowledged);
    text += Buffer.from(bytes).toString('latin1');
    ring.acknowledge(ring.written);
    const next = dialogue[said];
    if (next && text.includes(next.after)) {
      ring.writeInput(Buffer.from(next.type));
      said += 1;
    } else if (reason === 'waiting') {
      throw new Error(`the guest waits for ever; it said ${text.slice(-2000)}`);
    }
    if (retiredInstructions(guest, 0) > INSTRUCTIONS_MAX) throw new Error(`no end: ${text}`);
  }
  ring.listen(false);
  return text;
}

const INSTRUCTIONS_TURN = 1_000_000n;
const INSTRUCTIONS_MAX = 2_000_000_000n;
