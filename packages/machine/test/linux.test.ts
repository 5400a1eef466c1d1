/**
 * The unmodified kernel of a distribution on this machine: it boots, is used, powers off and reboots; and
 * a boot that is interrupted, moved and starved of pages is bit for bit the one that was not.
 *
 * GODWIT_LINUX_MOVES   how often the boot is moved, at random instructions (default 4)
 */
import assert from 'node:assert/strict';
import { ConsoleRing } from '../src/console-ring.ts';
import type { GuestMemory } from '../src/guest-memory.ts';
import { guestEnd, NO_LIMIT, retiredInstructions } from '../src/machine.ts';
import { digest } from '../src/machine-state.ts';
import { linuxTest, makeLinux, runToEnd } from './support/linux-guest.ts';
import { unmarkedContent } from './support/marks.ts';
import { runMoved } from './support/moved.ts';

const MOVES = Number(process.env.GODWIT_LINUX_MOVES ?? 4);
/** What the kernel is promised to boot in. */
const TINY = { initrd: 'initrd-tiny.cpio.gz', memoryMiB: 128 } as const;

function consoleOf(guest: GuestMemory): string {
  return Buffer.from(new ConsoleRing(guest).readOutput(0n).bytes).toString('latin1');
}

linuxTest('a boot moved at random, every page missing each time, is the same boot', async () => {
  const plain = makeLinux(TINY);
  const text = runToEnd(plain);
  assert.match(text, /GUEST-READY-TINY/);
  assert.deepEqual(guestEnd(plain), { end: 'power-off', code: 0 });
  const { unmarked, touched } = await unmarkedContent(plain);
  assert.deepEqual(unmarked, [], 'loader, harts, page walks and devices mark what they write');
  assert.ok(touched < plain.pages, 'a guest that has just booted has memory that nobody used');
  const end = retiredInstructions(plain, 0);

  const points = Array.from({ length: MOVES }, () =>
    BigInt(Math.floor(Math.random() * Number(end))),
  );
  const stops = [...points.toSorted((a, b) => (a < b ? -1 : 1)), NO_LIMIT];
  let guest = makeLinux(TINY);
  // The first stretch starts at instruction 0 with nothing there at all.
  for (const stop of stops) ({ guest } = await runMoved(guest, stop));
  const what = `moved at ${points.join(', ')}`;
  assert.equal(consoleOf(guest), text, what);
  assert.equal(retiredInstructions(guest, 0), end, what);
  assert.equal(digest(guest), digest(plain), what);
});

linuxTest('a shell answers on the console, and a reboot is the guest’s own wish', async () => {
  const guest = makeLinux({ initrd: 'initrd.cpio.gz', memoryMiB: 128 });
  const text = runToEnd(guest, [
    { after: '# ', type: 'echo sum $((6 * 7)); awk "BEGIN { print 10 / 4 }"\n' },
    {
      after: '\n2.5',
      type: 'grep -c ttyS0 /proc/interrupts; dmesg | grep -ci "stall\\|lockup"\n',
    },
    { after: '\n0', type: 'reboot -f\n' },
  ]);
  assert.match(text, /sum 42/);
  assert.deepEqual(guestEnd(guest), { end: 'reboot', code: 0 });
});

linuxTest('a kernel that cannot start says why on its console', async () => {
  const panic = /Kernel panic - not syncing: [^\n]*\n/;
  const homeless = makeLinux({ initrd: undefined, memoryMiB: 128 });
  assert.match(runToEnd(homeless, [], panic), /Unable to mount root fs/);
  // The least that holds kernel and initrd: it panics long before there is a console driver.
  const tight = makeLinux({ ...TINY, memoryMiB: 48 });
  assert.match(runToEnd(tight, [], panic), /Failed to allocate/);
  assert.throws(() => makeLinux({ ...TINY, memoryMiB: 32 }), { code: 'kernel.no_room' });
});
