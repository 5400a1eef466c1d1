/** A machine with somebody at its console: input in pieces, more than the ring holds, leaving, idling. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { loadElf } from '../src/elf.ts';
import { guestImagePath } from '../src/guest-images.ts';
import { GuestMemory } from '../src/guest-memory.ts';
import { LiveInput, runLive } from '../src/live.ts';
import { resetMachine } from '../src/machine.ts';
import { Turns } from '../src/turns.ts';
import { Assembler, writeElf } from './riscv/assembler.ts';
import * as e from './riscv/encode.ts';

const RAM = 0x80000000;
const LOOP = 0x6f;

function start(elf: Uint8Array, clock: 'host' | 'instructions', onText: (text: string) => void) {
  const guest = GuestMemory.create({ ramBytes: 16 * 1048576, harts: 1 });
  resetMachine(guest, { ...loadElf(elf, guest), clock });
  const onOutput = (bytes: Uint8Array) => onText(Buffer.from(bytes).toString('latin1'));
  return new Turns(guest, { onOutput });
}

/** Prints every byte it reads; a Z powers off. */
function echo(): Uint8Array {
  const a = new Assembler(RAM);
  a.emit(e.lui(10, 0x10000), e.lui(13, 0x100), e.lui(14, 0x5), e.addi(14, 14, 0x555));
  a.emit(e.addi(15, 0, 0x5a));
  const read = a.here;
  a.emit(e.iType(0x03, e.LOADS.lbu, 11, 10, 5), e.iType(0x13, 7, 11, 11, 1));
  a.emit(e.bType(0, 11, 0, read - a.here));
  a.emit(e.iType(0x03, e.LOADS.lbu, 11, 10, 0), e.sType(e.STORES.sb, 11, 10, 0));
  a.emit(e.bType(1, 11, 15, read - a.here));
  a.emit(e.sType(e.STORES.sw, 14, 13, 0), LOOP);
  return writeElf(RAM, a.bytes());
}

test('what is typed arrives in order, also more than fits at once', async () => {
  let text = '';
  const turns = start(echo(), 'instructions', (more) => {
    text += more;
  });
  const input = new LiveInput();
  const typed = Array.from({ length: 150_000 }, (_, i) => String.fromCharCode(97 + (i % 26)));
  let rooms = 0;
  input.onRoom = () => {
    rooms += 1;
  };
  assert.equal(input.push(Buffer.from(typed.join(''))), false, 'enough for now');
  const over = runLive(turns, input);
  setImmediate(() => input.push(Buffer.from('Z')));
  assert.deepEqual(await over, { end: 'power-off', code: 0 });
  assert.equal(text, `${typed.join('')}Z`);
  assert.ok(rooms > 0);
});

test('leaving ends the run, whatever the machine does', async () => {
  const turns = start(echo(), 'host', () => {});
  const input = new LiveInput();
  const over = runLive(turns, input);
  setImmediate(() => input.leave());
  assert.deepEqual(await over, { end: 'left', code: 0 });
});

test('a machine that waits for input that cannot come is idle', async () => {
  const a = new Assembler(RAM);
  a.emit(0x10500073, LOOP); // wfi
  const turns = start(writeElf(RAM, a.bytes()), 'instructions', () => {});
  const input = new LiveInput();
  const over = runLive(turns, input);
  input.end();
  assert.equal((await over).end, 'idle');
});

test('a program converses', async () => {
  let text = '';
  const input = new LiveInput();
  const turns = start(readFileSync(guestImagePath('kv')), 'host', (more) => {
    text += more;
    if (text.includes('blue')) input.leave();
  });
  input.push(Buffer.from('set colour blue\nget colour\n'));
  assert.deepEqual(await runLive(turns, input), { end: 'left', code: 0 });
});
