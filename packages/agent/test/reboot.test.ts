/** A guest that reboots: the same guest from its boot source again, or its end when there is none. */
import assert from 'node:assert/strict';
import { afterEach, test } from 'node:test';
import { ConsoleRing, memoryMap as map } from '@godwit/machine';
import type { BootSource, GuestBoot } from '../src/guest/boot.ts';
import { Guest } from '../src/guest/guest.ts';
import type { GuestEnding } from '../src/guest/guest-ending.ts';
import { GuestTable } from '../src/guest/guest-table.ts';
import { MemoryPool } from '../src/guest/memory-pool.ts';
import { MIB, machineSpec, silent, until } from './support/agent-parts.ts';

/** A kernel that prints B, waits for a byte of input and reboots. Its header jumps over itself. */
const PROGRAM = [
  0x100002b7, // lui   t0, 0x10000      the UART
  0x04200513, // li    a0, 'B'
  0x00a28023, // sb    a0, 0(t0)
  0x0052c583, // lbu   a1, 5(t0)        LSR
  0x0015f593, // andi  a1, a1, 1
  0xfe058ce3, // beqz  a1, .-8
  0x0002c583, // lbu   a1, 0(t0)
  0x00100337, // lui   t1, 0x100        the syscon
  0x00007637, // lui   a2, 0x7
  0x77760613, // addi  a2, a2, 0x777
  0x00c32023, // sw    a2, 0(t1)
  0x0000006f, // j     .
];

function kernel(): GuestBoot {
  const image = new Uint8Array(4096);
  const view = new DataView(image.buffer);
  view.setUint32(0, 0x0400006f, true); // j .+64
  view.setBigUint64(16, BigInt(MIB), true);
  view.setUint32(0x38, 0x05435352, true);
  for (const [i, word] of PROGRAM.entries()) view.setUint32(64 + i * 4, word, true);
  return { kind: 'linux', kernel: image, seed: new Uint8Array(32) };
}

interface Bench {
  readonly guest: Guest;
  readonly ring: ConsoleRing;
  readonly rebooted: (Error | undefined)[];
  readonly ended: GuestEnding[];
}

const made = new Set<Guest>();
afterEach(async () => {
  await Promise.all([...made].map((guest) => guest.release()));
  made.clear();
});

async function start(boot: BootSource): Promise<Bench> {
  const rebooted: (Error | undefined)[] = [];
  const ended: GuestEnding[] = [];
  const table = new GuestTable({
    entered: () => {},
    endedInMigration: () => {},
    ended: (_, ending) => ended.push(ending),
    rebooted: (_, error) => rebooted.push(error),
  });
  const spec = machineSpec('r', { memoryBytes: 16 * MIB });
  const pool = new MemoryPool('a', 64 * MIB);
  const guest = await Guest.create({ spec, epoch: 1, pool, log: silent, boot });
  made.add(guest);
  table.set('r', guest);
  guest.start();
  return { guest, ring: new ConsoleRing(guest.memory), rebooted, ended };
}

test('a guest reboots as often as it likes; RAM is new, the console goes on', async () => {
  const { guest, ring, rebooted, ended } = await start(kernel);
  for (let boots = 1; boots <= 3; boots++) {
    await until(`boot ${boots}`, () => ring.written === BigInt(boots));
    assert.equal(guest.state, 'running');
    guest.memory.ram()[8 * MIB] = 0x77;
    ring.writeInput(Buffer.from('x'));
    await until('reboot', () => rebooted.length === boots);
    assert.equal(guest.memory.ram()[8 * MIB], 0, 'what the last life wrote is gone');
  }
  await until('the last boot', () => ring.written === 4n);
  assert.equal(Buffer.from(ring.readOutput(0n).bytes).toString(), 'BBBB');
  assert.equal(ring.inputTaken, 3n);
  assert.deepEqual(ended, []);
  assert.equal(guest.report().end, undefined);
});

test('a reboot waits until the migration that holds the guest has let go', async () => {
  const { guest, ring, rebooted } = await start(kernel);
  await until('boot', () => ring.written === 1n);
  guest.leaseTo('m-1');
  ring.writeInput(Buffer.from('x'));
  await until('the end', () => guest.ending?.event === 'reboot');
  assert.deepEqual(rebooted, []);
  guest.releaseLease('m-1');
  await until('reboot', () => rebooted.length === 1 && ring.written === 2n);
});

test('a guest that cannot be started again has ended', async () => {
  let asked = 0;
  const { guest, ring, rebooted, ended } = await start(() => {
    asked += 1;
    if (asked > 1) throw new Error('the image is gone');
    return kernel();
  });
  await until('boot', () => ring.written === 1n);
  ring.writeInput(Buffer.from('x'));
  await until('the end', () => ended.length === 1);
  assert.match(rebooted[0]!.message, /the image is gone|internal/);
  assert.deepEqual([guest.state, ended[0]!.event], ['ended', 'reboot']);
  assert.equal(guest.lease, undefined);
});

test('without a boot source a reboot is the end', async () => {
  const { guest, ring, ended } = await start(kernel);
  guest.boot = undefined;
  await until('boot', () => ring.written === 1n);
  ring.writeInput(Buffer.from('x'));
  await until('the end', () => ended.length === 1);
  assert.equal(guest.memory.control(map.CONTROL_END), map.END_REBOOT);
});
