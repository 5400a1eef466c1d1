/**
 * Real-time clock ("goldfish"): nanoseconds since 1970, and an alarm.
 *
 *   0x00, 0x04  time, low and high half: a read of low fixes high; a write of low takes high along
 *   0x08, 0x0c  alarm, the same; a write of low arms it
 *   0x10        1 = the alarm interrupts
 *   0x14        a write disarms it
 *   0x18        1 = it is armed
 *   0x1c        a write ends the interrupt
 *
 * CLOCK_HOST shows the host's wall clock, so after a move the guest finds the time it is.
 * CLOCK_INSTRUCTIONS counts from RTC_EPOCH_S with guest time. In both, what the guest set is kept as
 * a difference.
 */
import { countsInstructions, guestTicks } from './clock';
import { NEVER } from './interrupts';
import {
  NANOSECONDS_PER_TICK, RTC_ALARM, RTC_ALARM_HIGH, RTC_ARMED, RTC_ENABLED, RTC_EPOCH_S, RTC_HIGH_READ,
  RTC_HIGH_WRITTEN, RTC_OFFSET, RTC_PENDING,
} from './machine-map.ts';
import { lock, unlock } from './syscon';

/** Host's wall clock, ns since 1970. */
@external("env", "wallClock") declare function hostWallClock(): i64;

const TIME_LOW: u64 = 0x00;
const TIME_HIGH: u64 = 0x04;
const ALARM_LOW: u64 = 0x08;
const ALARM_HIGH: u64 = 0x0c;
const IRQ_ENABLED: u64 = 0x10;
const CLEAR_ALARM: u64 = 0x14;
const ALARM_STATUS: u64 = 0x18;
const CLEAR_INTERRUPT: u64 = 0x1c;

const EPOCH_NS: u64 = <u64>RTC_EPOCH_S * 1_000_000_000;
const HALF: u64 = 0xffffffff;

@inline function get(register: usize): u64 { return atomic.load<u64>(register); }
@inline function set(register: usize, value: u64): void { atomic.store<u64>(register, value); }

/** Time without what the guest added to it. */
function bareTime(): u64 {
  return countsInstructions() ? EPOCH_NS + guestTicks() * NANOSECONDS_PER_TICK : <u64>hostWallClock();
}

function time(): u64 { return bareTime() + get(RTC_OFFSET); }

/** An armed alarm whose time has come becomes an interrupt, once. */
function settle(): void {
  if (!get(RTC_ARMED) || time() < get(RTC_ALARM)) return;
  lock();
  if (get(RTC_ARMED)) {
    set(RTC_ARMED, 0);
    set(RTC_PENDING, 1);
  }
  unlock();
}

export function rtcInterrupts(): bool {
  settle();
  return get(RTC_PENDING) != 0 && get(RTC_ENABLED) != 0;
}

/** Guest time at which the alarm fires; NEVER. */
export function rtcTimer(): u64 {
  if (!get(RTC_ARMED) || !get(RTC_ENABLED)) return NEVER;
  const at = time();
  const alarm = get(RTC_ALARM);
  const left = alarm > at ? alarm - at : 0;
  return guestTicks() + (left + NANOSECONDS_PER_TICK - 1) / NANOSECONDS_PER_TICK;
}

/** Reads 4 bytes at an aligned offset. */
export function readRtc(offset: u64): u64 {
  settle();
  if (offset == TIME_LOW) {
    const at = time();
    set(RTC_HIGH_READ, at >> 32);
    return at & HALF;
  }
  if (offset == TIME_HIGH) return get(RTC_HIGH_READ);
  if (offset == ALARM_LOW) return get(RTC_ALARM) & HALF;
  if (offset == ALARM_HIGH) return get(RTC_ALARM) >> 32;
  if (offset == IRQ_ENABLED) return get(RTC_ENABLED);
  return offset == ALARM_STATUS ? get(RTC_ARMED) : 0;
}

export function writeRtc(offset: u64, value: u64): void {
  const half = value & HALF;
  if (offset == TIME_HIGH) set(RTC_HIGH_WRITTEN, half);
  else if (offset == TIME_LOW) set(RTC_OFFSET, (get(RTC_HIGH_WRITTEN) << 32 | half) - bareTime());
  else if (offset == ALARM_HIGH) set(RTC_ALARM_HIGH, half);
  else if (offset == ALARM_LOW) {
    set(RTC_ALARM, get(RTC_ALARM_HIGH) << 32 | half);
    set(RTC_ARMED, 1);
  } else if (offset == IRQ_ENABLED) set(RTC_ENABLED, half & 1);
  else if (offset == CLEAR_ALARM) set(RTC_ARMED, 0);
  else if (offset == CLEAR_INTERRUPT) set(RTC_PENDING, 0);
}
