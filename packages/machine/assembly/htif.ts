/**
 * The host interface that RISC-V simulators share: a program's `tohost` and `fromhost` words.
 *
 * guest store to tohost -> [htif] -> end of the guest, console output, or an answer in fromhost
 *
 * A command is device << 56 | command << 48 | payload.
 *
 *   device 0, payload odd    the program ends with code payload >> 1
 *   device 0, payload even   address of eight words {call, arguments...}: SYS_write and SYS_exit, the two
 *                            that test programs' printf and exit need; the result replaces the first word
 *   device 1, command 1      print one byte on the console
 *
 * Everything else is acknowledged and otherwise ignored. An acknowledgement clears tohost and, if the
 * program has a fromhost, puts the answer there. Reached from the slow path of stores, as the page of
 * tohost never has a write entry; a call whose memory is not here yet is a store to be executed again.
 */
import { core, DONE_LOOK_UP } from './core';
import { reachOrWait } from './dma';
import { DEVICES_FROMHOST, DEVICES_TOHOST, RAM_BASE } from './machine-map.ts';
import { END_TOHOST, RAM } from './memory-map.ts';
import { endGuest } from './syscon';
import { print } from './uart';

const DEVICE_CONSOLE: u64 = 1;
const CONSOLE_PUT: u64 = 1;
const SYS_WRITE: u64 = 64;
const SYS_EXIT: u64 = 93;
const ENOSYS: u64 = -38;
const EFAULT: u64 = -14;
/** The proxy call's words that are read: call, three arguments. */
const CALL_BYTES: u64 = 32;
/** Longest write served at once; a longer one is cut, as write() may. */
const WRITE_MAX: u64 = 4096;

/** Whether the answer can be written now; false: its page was waited for. */
function answerable(): bool {
  const fromhost = atomic.load<u64>(DEVICES_FROMHOST);
  if (fromhost) reachOrWait(fromhost, 8, true);
  return !core.outcome;
}

/** Clears tohost and answers in fromhost. */
function acknowledge(answer: u64): void {
  const fromhost = atomic.load<u64>(DEVICES_FROMHOST);
  const place = fromhost ? reachOrWait(fromhost, 8, true) : 0;
  if (core.outcome) return;
  store<u64>(RAM + <usize>(atomic.load<u64>(DEVICES_TOHOST) - RAM_BASE), 0);
  if (place) store<u64>(place, answer);
}

function writeCall(buffer: u64, length: u64): u64 {
  const bytes = min<u64>(length, WRITE_MAX);
  const from = bytes ? reachOrWait(buffer, bytes, false) : 0;
  if (core.outcome) return 0;
  if (!from) return bytes ? EFAULT : 0;
  // fromhost's page is asked for before the first byte goes out: an output is never made twice.
  if (!answerable()) return 0;
  for (let i: usize = 0; i < <usize>bytes; i++) print(load<u8>(from + i));
  return bytes;
}

function proxyCall(address: u64): void {
  const call = reachOrWait(address, CALL_BYTES, true);
  if (core.outcome) return;
  if (!call) {
    acknowledge(1);
    return;
  }
  const which = load<u64>(call);
  if (which == SYS_EXIT) {
    endGuest(END_TOHOST, load<u32>(call, 8));
    return;
  }
  const result = which == SYS_WRITE ? writeCall(load<u64>(call, 16), load<u64>(call, 24)) : ENOSYS;
  if (core.outcome) return;
  acknowledge(1);
  if (!core.outcome) store<u64>(call, result);
}

function obey(command: u64): void {
  const payload = command << 16 >> 16;
  if (command >> 56 == 0) {
    if (payload & 1) endGuest(END_TOHOST, <u32>(payload >> 1));
    else proxyCall(payload);
    return;
  }
  const kind = command >> 48;
  const prints = kind == (DEVICE_CONSOLE << 8 | CONSOLE_PUT);
  acknowledge(prints ? kind << 48 | 0x100 | (payload & 0xff) : kind << 48);
  if (prints && !core.outcome) print(<u8>payload);
}

/** Called after each store to the page of tohost: did it write a command? */
export function afterStore(physical: u64, size: u32): void {
  const tohost = atomic.load<u64>(DEVICES_TOHOST);
  if (physical >= tohost + 8 || physical + size <= tohost) return;
  const command = load<u64>(RAM + <usize>(tohost - RAM_BASE));
  // A program that writes halves ends with the low one; a high half alone is not a command yet.
  const whole = size == 8 || (command >> 32) != 0 || (command & 1) != 0;
  if (!command || !whole) return;
  obey(command);
  if (!core.outcome) core.outcome = DONE_LOOK_UP; // the guest may have ended
}
