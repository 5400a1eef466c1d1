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
  CLINT_BASE, CLINT_SIZE, PLIC_BASE, PLIC_SIZE, RTC_BASE, RTC_SIZE, SYSCON_BASE, SYSCON_SIZE, UART_BASE,
  UART_SIZE, VIRTIO_BASE, VIRTIO_COUNT, VIRTIO_SIZE,
} from './machine-map.ts';
import { readPlic, writePlic } from './plic';
import { readRtc, writeRtc } from './rtc';
import { readSyscon, writeSyscon } from './syscon';
import { readUart, writeUart } from './uart';
import { readVirtio, writeVirtio } from './virtio';

export const NOTHING = 0;
export const CLINT = 1;
export const UART = 2;
export const SYSCON = 3;
export const PLIC = 4;
export const RTC = 5;
export const VIRTIO = 6;

@inline function within(address: u64, base: u64, size: u64): bool { return address - base < size; }

/** The device that takes an access of so many bytes there, or NOTHING. */
export function deviceAt(address: u64, size: u32): i32 {
  if (address & (size - 1)) return NOTHING;
  if (within(address, UART_BASE, UART_SIZE)) return size == 1 ? UART : NOTHING;
  if (within(address, CLINT_BASE, CLINT_SIZE)) return size >= 4 ? CLINT : NOTHING;
  if (within(address, PLIC_BASE, PLIC_SIZE)) return size == 4 ? PLIC : NOTHING;
  if (within(address, VIRTIO_BASE, VIRTIO_COUNT * VIRTIO_SIZE)) return size <= 4 ? VIRTIO : NOTHING;
  if (within(address, RTC_BASE, RTC_SIZE)) return size == 4 ? RTC : NOTHING;
  if (address == SYSCON_BASE || within(address, SYSCON_BASE, SYSCON_SIZE)) {
    return size >= 2 && address == SYSCON_BASE ? SYSCON : NOTHING;
  }
  return NOTHING;
}

export function readDevice(device: i32, address: u64, size: u32): u64 {
  if (device == UART) return readUart(address - UART_BASE);
  if (device == CLINT) return readClint(address - CLINT_BASE, size);
  if (device == PLIC) return readPlic(address - PLIC_BASE);
  if (device == VIRTIO) return readVirtio(address - VIRTIO_BASE, size);
  if (device == RTC) return readRtc(address - RTC_BASE);
  return readSyscon();
}

export function writeDevice(device: i32, address: u64, size: u32, value: u64): void {
  if (device == UART) writeUart(address - UART_BASE, value);
  else if (device == CLINT) writeClint(address - CLINT_BASE, size, value);
  else if (device == PLIC) writePlic(address - PLIC_BASE, value);
  else if (device == VIRTIO) writeVirtio(address - VIRTIO_BASE, size, value);
  else if (device == RTC) writeRtc(address - RTC_BASE, value);
  else writeSyscon(value);
}
