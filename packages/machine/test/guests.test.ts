/**
 * The guest programs: what their sources build, right on our machine and on QEMU, and able to see
 * what they are for: a page that is lost, mixed up or rolled back.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { differingGuests, installedToolchain, recordedToolchain } from '../guests/build.ts';
import { type GuestImage, guestImagePath } from '../src/guest-images.ts';
import { digest } from '../src/machine-state.ts';
import { kvDialogue } from './riscv/kv-dialogue.ts';
import { LocalMachine } from './riscv/local-machine.ts';
import { Qemu, qemuMissing } from './riscv/qemu.ts';

const PAGE_BYTES = 4096;
const KIB = 1024;
const MEMORY_MIB = 12;
/** What `churn` prints after its first passes on any correct machine. */
const CHURN_OUTPUT = `churn ready
churn PASS 1 98646fdc75ca9b8f
churn PASS 2 32999d9bae0c7229
`;

const boot = (name: GuestImage): LocalMachine =>
  LocalMachine.boot(readFileSync(guestImagePath(name)), MEMORY_MIB);

/** Why the sources cannot be compared with bin/ here, or false when they can. */
function buildSkip(): string | false {
  try {
    const [installed, recorded] = [installedToolchain(), recordedToolchain()];
    const same = installed.clang === recorded.clang && installed.lld === recorded.lld;
    return same ? false : `needs clang ${recorded.clang} and lld ${recorded.lld}`;
  } catch (error) {
    return (error as Error).message;
  }
}

test('the committed programs are byte for byte what the sources build', {
  skip: buildSkip(),
}, () => {
  assert.deepEqual(differingGuests(), []);
});

test('hello prints its banner and its seconds, echoes lines, powers off on quit', async () => {
  const guest = boot('hello');
  assert.equal(
    await guest.readTo('tick 2\n'),
    'hello: a guest on RV64IMAC; type a line, or quit\ntick 1\ntick 2\n',
  );
  guest.send('some words\r\n\nquit\n');
  assert.match(await guest.readTo('bye\n'), /^(tick \d+\n)*echo some words\nbye\n$/);
  assert.deepEqual(guest.run(1n), { end: 'power-off', code: 0 });
});

test('churn finds its memory intact and prints what every correct machine prints', async () => {
  const guest = boot('churn');
  assert.equal((await guest.readTo('PASS 2 ')) + (await guest.readTo('\n')), CHURN_OUTPUT);
});

test('churn is the same machine at the same instruction, however its run was cut', () => {
  const [atOnce, inParts] = [boot('churn'), boot('churn')];
  atOnce.run(30_000_000n);
  for (let part = 0; part < 100; part++) inParts.run(part % 2 === 0 ? 1n : 599_999n);
  assert.equal(atOnce.instructions, inParts.instructions);
  assert.equal(digest(atOnce.guest), digest(inParts.guest));
});

test('a program that finds too little RAM says so', async () => {
  for (const name of ['kv', 'churn'] as const) {
    const guest = LocalMachine.boot(readFileSync(guestImagePath(name)), 8);
    guest.run(100_000n);
    assert.deepEqual(guest.run(1n), { end: 'tohost', code: 3 }, name);
  }
});

test('kv answers a scripted dialogue', async () => {
  const { said, expected } = await kvDialogue(boot('kv'), 1, 200);
  assert.deepEqual(said, expected);
});

test('kv fills memory up to the end of RAM and says how far it came', async () => {
  const guest = boot('kv');
  guest.send('fill 999999\ncheck\n');
  assert.equal(await guest.readTo('err full '), 'kv ready 2048\nerr full ');
  const kib = Number(await guest.readTo('\n'));
  assert.ok(kib > 3 * KIB && kib < (MEMORY_MIB - 8) * KIB, `${kib}`);
  assert.equal(await guest.readTo('\n'), `good ${2048 + kib / 4}\n`);
});

// --------------------------------------------------------------------------- damaged memory

/** Where the program's own memory begins: after its last segment, at the next page. */
function heapOffset(name: GuestImage): number {
  const file = readFileSync(guestImagePath(name));
  const headers = Number(file.readBigUInt64LE(32));
  let end = 0;
  for (let i = 0; i < file.readUInt16LE(56); i++) {
    const header = headers + i * file.readUInt16LE(54);
    const address = Number(file.readBigUInt64LE(header + 16));
    end = Math.max(end, address + Number(file.readBigUInt64LE(header + 40)) - 0x80000000);
  }
  return Math.ceil(end / PAGE_BYTES) * PAGE_BYTES;
}

function copyPage(to: Uint8Array, toOffset: number, from: Uint8Array, fromOffset = toOffset): void {
  to.set(from.subarray(fromOffset, fromOffset + PAGE_BYTES), toOffset);
}

/** A page in the middle of each region of churn's arena, in KiB from its start. */
const CHURN_REGIONS = {
  words: 512,
  walk: 2 * KIB,
  stamps: 4 * KIB,
  bytes: 5 * KIB + 256,
  'atomic cells': 5 * KIB + 640,
  'atomic mirrors': 5 * KIB + 896,
  borders: 6 * KIB + 512,
  list: 7 * KIB + 512,
} as const;

test('churn sees a page of each pattern that is rolled back or lost', async () => {
  const guest = boot('churn');
  await guest.readTo('churn PASS 1 ');
  const before = guest.snapshot();
  await guest.readTo('churn PASS 2 ');
  const after = guest.snapshot();
  for (const [region, kib] of Object.entries(CHURN_REGIONS)) {
    const page = heapOffset('churn') + kib * KIB;
    for (const [damage, from] of [
      ['rolled back', before.ram],
      ['lost', new Uint8Array(after.ram.length)],
    ] as const) {
      const ram = after.ram.slice();
      copyPage(ram, page, from);
      assert.notDeepEqual(ram, after.ram, `${region}: the page changed between the passes`);
      const damaged = LocalMachine.resume({ ram, state: after.state });
      await damaged.readTo('churn BAD ');
      await damaged.readTo('\n');
      assert.deepEqual(damaged.run(1000n), { end: 'tohost', code: 1 }, `${region} ${damage}`);
    }
  }
});

const KV_HEAP = heapOffset('kv');
const kvBlock = (index: number): number => KV_HEAP + index * PAGE_BYTES;

/** The one table block in which two memories differ. */
function changedBlock(a: Uint8Array, b: Uint8Array): number {
  const changed = Array.from({ length: 2048 }, (_, index) => index).filter((index) => {
    const [start, end] = [kvBlock(index), kvBlock(index + 1)];
    return Buffer.compare(a.subarray(start, end), b.subarray(start, end)) !== 0;
  });
  assert.equal(changed.length, 1);
  return changed[0]!;
}

test('kv sees pages that are damaged, lost, exchanged or rolled back', async () => {
  const guest = boot('kv');
  guest.send('fill 64\nset key old\nping 1\n');
  await guest.readTo('pong 1\n');
  const before = guest.snapshot();
  guest.send('set key new\nping 2\n');
  await guest.readTo('pong 2\n');
  const after = guest.snapshot();

  const block = changedBlock(before.ram, after.ram);
  const other = (block + 1) % 2048;
  const damages: readonly (readonly [bad: string, damage: (ram: Uint8Array) => void])[] = [
    [`${block} checksum`, (ram) => ram.fill(1, kvBlock(block) + 2000, kvBlock(block) + 2001)],
    [`${block} magic`, (ram) => ram.fill(0, kvBlock(block), kvBlock(block + 1))],
    [`${block} index`, (ram) => copyPage(ram, kvBlock(block), after.ram, kvBlock(other))],
    [`${block} ledger`, (ram) => copyPage(ram, kvBlock(block), before.ram)],
    ['2050 magic', (ram) => ram.fill(0xa5, kvBlock(2050), kvBlock(2051))],
  ];
  for (const [bad, damage] of damages) {
    const ram = after.ram.slice();
    damage(ram);
    const damaged = LocalMachine.resume({ ram, state: after.state });
    await damaged.readTo(`!bad ${bad}\n`);
    damaged.send('#1 check\n');
    await damaged.readTo(`#1 BAD ${bad}\n`);
  }
});

// ------------------------------------------------------------------------------------- QEMU

test('kv and churn say the same on QEMU', { skip: qemuMissing() }, async () => {
  const [kv, churn] = (['kv', 'churn'] as const).map(
    (name) => new Qemu(guestImagePath(name), MEMORY_MIB),
  ) as [Qemu, Qemu];
  try {
    // Few commands: QEMU hands input over in portions of its FIFO, some milliseconds apart.
    const { said, expected } = await kvDialogue(kv, 1, 5);
    assert.deepEqual(said, expected);
    assert.equal(await churn.readTo('ae0c7229\n'), CHURN_OUTPUT);
  } finally {
    await Promise.all([kv.close(), churn.close()]);
  }
});
