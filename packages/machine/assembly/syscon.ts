/**
 * Syscon: the register a guest ends itself with (QEMU's "sifive_test" device), and the ending itself.
 */
import { DEVICES_LOCK, DEVICES_SYSCON } from './machine-map.ts';
import {
  CONTROL_BELL_DEVICE, CONTROL_END, CONTROL_END_CODE, CONTROL_HARTS, END_NONE, END_POWER_OFF,
  END_REBOOT, HART_SIZE, HART_WAKE, HARTS,
} from './memory-map.ts';
import { ring, WAIT_LIMIT_NS } from './park';

const FINISHER_FAIL: u32 = 0x3333;
const FINISHER_PASS: u32 = 0x5555;
const FINISHER_RESET: u32 = 0x7777;

/** Short critical sections of the devices; several harts may be in one device. */
export function lock(): void {
  while (atomic.xchg<u32>(DEVICES_LOCK, 1)) atomic.wait<i32>(DEVICES_LOCK, 1, WAIT_LIMIT_NS);
}

export function unlock(): void {
  atomic.store<u32>(DEVICES_LOCK, 0);
  atomic.notify(DEVICES_LOCK, 1);
}

/** The guest ends by itself. The first reason stays; every hart sees it at its next safepoint. */
export function endGuest(end: u32, code: u32): void {
  lock();
  if (atomic.load<u32>(CONTROL_END) == END_NONE) {
    atomic.store<u32>(CONTROL_END_CODE, code);
    atomic.store<u32>(CONTROL_END, end);
  }
  unlock();
  ring(CONTROL_BELL_DEVICE);
  const harts = atomic.load<u32>(CONTROL_HARTS);
  for (let hart: u32 = 0; hart < harts; hart++) ring(HARTS + <usize>hart * HART_SIZE + HART_WAKE);
}

export function readSyscon(): u64 { return atomic.load<u64>(DEVICES_SYSCON); }

export function writeSyscon(value: u64): void {
  atomic.store<u64>(DEVICES_SYSCON, value);
  const command = <u32>value & 0xffff;
  if (command == FINISHER_PASS) endGuest(END_POWER_OFF, 0);
  else if (command == FINISHER_FAIL) endGuest(END_POWER_OFF, <u32>value >> 16);
  else if (command == FINISHER_RESET) endGuest(END_REBOOT, 0);
}
