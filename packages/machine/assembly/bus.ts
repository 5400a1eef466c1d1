/**
 * Physical addresses that are not RAM: which device answers.
 *
 * load, store -> TLB miss -> not RAM -> [bus] -> device
 *
 * Devices take aligned accesses of the sizes named here and nothing else; the rest is an access fault.
 * No TLB entry is ever made for a device.
 */
import { readClint, writeClint } from './clint';
import {
  CLINT_BASE, CLINT_SIZE, SYSCON_BASE, SYSCON_SIZE, UART_BASE, UART_SIZE,
} from './machine-map.ts';
import { readSyscon, writeSyscon } from './syscon';
import { readUart, writeUart } from './uart';

export const NOTHING = 0;
export const CLINT = 1;
export const UART = 2;
export const SYSCON = 3;

@inline function within(address: u64, base: u64, size: u64): bool { return address - base < size; }

/** The device that takes an access of so many bytes there, or NOTHING. */
export function deviceAt(address: u64, size: u32): i32 {
  if (address & (size - 1)) return NOTHING;
  if (within(address, UART_BASE, UART_SIZE)) return size == 1 ? UART : NOTHING;
  if (within(address, CLINT_BASE, CLINT_SIZE)) return size >= 4 ? CLINT : NOTHING;
  if (address == SYSCON_BASE || within(address, SYSCON_BASE, SYSCON_SIZE)) {
    return size >= 2 && address == SYSCON_BASE ? SYSCON : NOTHING;
  }
  return NOTHING;
}

export function readDevice(device: i32, address: u64, size: u32): u64 {
  if (device == UART) return readUart(address - UART_BASE);
  if (device == CLINT) return readClint(address - CLINT_BASE, size);
  return readSyscon();
}

export function writeDevice(device: i32, address: u64, size: u32, value: u64): void {
  if (device == UART) writeUart(address - UART_BASE, value);
  else if (device == CLINT) writeClint(address - CLINT_BASE, size, value);
  else writeSyscon(value);
}
