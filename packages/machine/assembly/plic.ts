/**
 * PLIC: which device interrupts which hart (RISC-V Platform-Level Interrupt Controller, version 1.0.0).
 *
 * level of a device -> [plic: pending, enabled, above the threshold] -> MEIP or SEIP of a hart
 *
 *   0x000000 + 4 x source          priority 0..7; 0 never interrupts
 *   0x001000                       pending, one bit a source, read-only
 *   0x002000 + 0x80 x context      enabled, one bit a source
 *   0x200000 + 0x1000 x context    threshold; at +4: claim (read), complete (write)
 *
 * Context 2 x hart is the hart's machine mode, 2 x hart + 1 its supervisor mode. All sources are
 * levels, computed from the devices' state when somebody looks: nothing is latched that could be lost
 * or doubled over a move. All that lasts is what the guest wrote, and which sources are in service.
 * A source in service is not pending (the gateway holds it back) until it is completed.
 */
import { core } from './core';
import { alertHarts } from './interrupts';
import {
  IRQ_MAX, IRQ_RTC, IRQ_UART, IRQ_VIRTIO, PLIC_CLAIMED, PLIC_ENABLE, PLIC_PRIORITY, PLIC_THRESHOLD,
} from './machine-map.ts';
import { CONTROL_HARTS } from './memory-map.ts';
import { rtcInterrupts } from './rtc';
import { uartInterrupts } from './uart';
import { virtioInterrupts } from './virtio';

const PENDING_AT: u64 = 0x1000;
const ENABLE_AT: u64 = 0x2000;
const ENABLE_STRIDE: u64 = 0x80;
const CONTEXT_AT: u64 = 0x200000;
const CONTEXT_STRIDE: u64 = 0x1000;
const CLAIM: u64 = 4;
const PRIORITY_MASK: u64 = 7;
/** Source 0 does not exist. */
const SOURCES: u32 = ~1;

export const MIP_SEIP: u64 = 1 << 9;
export const MIP_MEIP: u64 = 1 << 11;

/** Lines that are up, one bit a source. */
function levels(): u32 {
  return virtioInterrupts() << IRQ_VIRTIO | <u32>uartInterrupts() << IRQ_UART
    | <u32>rtcInterrupts() << IRQ_RTC;
}

function pending(): u32 { return levels() & ~atomic.load<u32>(PLIC_CLAIMED); }

@inline function priorityOf(source: u32): u64 { return atomic.load<u64>(PLIC_PRIORITY + <usize>source * 8); }

/** The pending source this context must serve first, or 0: the highest priority, then the lowest number. */
function best(context: u32, lines: u32): u32 {
  let wanted = lines & atomic.load<u32>(PLIC_ENABLE + <usize>context * 8);
  let priority = atomic.load<u64>(PLIC_THRESHOLD + <usize>context * 8);
  let source: u32 = 0;
  while (wanted) {
    const candidate = <u32>ctz<u32>(wanted);
    wanted &= wanted - 1;
    if (priorityOf(candidate) <= priority) continue;
    priority = priorityOf(candidate);
    source = candidate;
  }
  return source;
}

/** MEIP and SEIP of this hart. */
export function externalInterrupts(): u64 {
  const lines = pending();
  if (!lines) return 0;
  const machine = best(<u32>core.number * 2, lines) ? MIP_MEIP : 0;
  return best(<u32>core.number * 2 + 1, lines) ? machine | MIP_SEIP : machine;
}

/** Puts the best source into service. Two harts may claim at once: one gets it, the other looks again. */
function claim(context: u32): u64 {
  while (true) {
    const source = best(context, pending());
    if (!source) return 0;
    const bit: u32 = 1 << source;
    if (!(atomic.or<u32>(PLIC_CLAIMED, bit) & bit)) return <u64>source;
  }
}

/** A completion of a source that the context does not have enabled is ignored. */
function complete(context: u32, source: u64): void {
  if (source > <u64>IRQ_MAX) return;
  const bit: u32 = 1 << <u32>source;
  if (!(atomic.load<u32>(PLIC_ENABLE + <usize>context * 8) & bit)) return;
  atomic.and<u32>(PLIC_CLAIMED, ~bit);
}

@inline function contexts(): u64 { return <u64>atomic.load<u32>(CONTROL_HARTS) * 2; }

/** Reads 4 bytes at an aligned offset. What does not exist reads 0. */
export function readPlic(offset: u64): u64 {
  if (offset < PENDING_AT) return offset >> 2 <= <u64>IRQ_MAX ? priorityOf(<u32>(offset >> 2)) : 0;
  if (offset == PENDING_AT) return <u64>pending();
  if (offset >= CONTEXT_AT) {
    const context = (offset - CONTEXT_AT) / CONTEXT_STRIDE;
    if (context >= contexts()) return 0;
    const register = (offset - CONTEXT_AT) % CONTEXT_STRIDE;
    if (register == CLAIM) return claim(<u32>context);
    return register ? 0 : atomic.load<u64>(PLIC_THRESHOLD + <usize>context * 8);
  }
  const enable = offset - ENABLE_AT;
  const context = enable / ENABLE_STRIDE;
  const exists = offset >= ENABLE_AT && context < contexts() && enable % ENABLE_STRIDE == 0;
  return exists ? atomic.load<u64>(PLIC_ENABLE + <usize>context * 8) : 0;
}

/** What this changes may concern any hart, so all are told to look. */
export function writePlic(offset: u64, value: u64): void {
  write(offset, <u64><u32>value);
  alertHarts();
}

function write(offset: u64, value: u64): void {
  if (offset < PENDING_AT) {
    const source = offset >> 2;
    if (source && source <= <u64>IRQ_MAX) atomic.store<u64>(PLIC_PRIORITY + <usize>source * 8, value & PRIORITY_MASK);
    return;
  }
  if (offset >= CONTEXT_AT) {
    const context = (offset - CONTEXT_AT) / CONTEXT_STRIDE;
    if (context >= contexts()) return;
    const register = (offset - CONTEXT_AT) % CONTEXT_STRIDE;
    if (register == CLAIM) complete(<u32>context, value);
    else if (!register) atomic.store<u64>(PLIC_THRESHOLD + <usize>context * 8, value & PRIORITY_MASK);
    return;
  }
  const enable = offset - ENABLE_AT;
  const context = enable / ENABLE_STRIDE;
  if (offset < ENABLE_AT || context >= contexts() || enable % ENABLE_STRIDE) return;
  atomic.store<u64>(PLIC_ENABLE + <usize>context * 8, value & <u64>SOURCES);
}
