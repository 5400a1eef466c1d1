/**
 * Virtio over MMIO, version 2 (Virtual I/O Device specification 1.2, section 4.2), and its two devices:
 * console (section 5.3) and entropy (5.4).
 *
 * driver writes QueueNotify -> [virtio] -> virtqueue -> console streams, entropy -> used ring, interrupt
 *
 * The hart that writes the register does the work, under the devices' lock; what is typed on the console
 * is put into receive buffers by the next hart that looks (serveInput). One pass moves at most
 * PASS_BYTES_MAX; what is left is done by executing the same store again, so that stops and
 * interrupts come in between.
 *
 * A driver that breaks the rules gets DEVICE_NEEDS_RESET (section 2.1.1) and a configuration interrupt;
 * the device does nothing more until it is reset.
 */
import { core, DONE, RETRY } from './core';
import { awaitMissing } from './dma';
import { drawEntropy } from './entropy';
import { alertHarts } from './interrupts';
import {
  CONSOLE_AT_VIRTIO, DEVICES_CONSOLE, QUEUE_DESC, QUEUE_DEVICE, QUEUE_DRIVER, QUEUE_NUM, QUEUE_NUM_MAX,
  QUEUE_READY, VIRTIO_CONSOLE, VIRTIO_COUNT, VIRTIO_DEVICE_FEATURES_SEL, VIRTIO_DEVICE_SIZE,
  VIRTIO_DEVICES, VIRTIO_DRIVER_FEATURES, VIRTIO_DRIVER_FEATURES_SEL, VIRTIO_ENTROPY,
  VIRTIO_INTERRUPT_STATUS, VIRTIO_QUEUE_SEL, VIRTIO_QUEUE_SIZE, VIRTIO_QUEUES, VIRTIO_SIZE, VIRTIO_STATUS,
} from './machine-map.ts';
import { lock, unlock } from './syscon';
import { inputWaits, printLocked, takeLocked } from './uart';
import {
  BROKEN, EMPTY, giveBack, isQueueLength, MISSING, segmentBytes, segmentPlace, takeChain,
} from './virtqueue';

// Registers (table "MMIO Device Register Layout").
const MAGIC_VALUE: u64 = 0x000;
const VERSION: u64 = 0x004;
const DEVICE_ID: u64 = 0x008;
const VENDOR_ID: u64 = 0x00c;
const DEVICE_FEATURES: u64 = 0x010;
const DEVICE_FEATURES_SEL: u64 = 0x014;
const DRIVER_FEATURES: u64 = 0x020;
const DRIVER_FEATURES_SEL: u64 = 0x024;
const QUEUE_SELECT: u64 = 0x030;
const QUEUE_LENGTH_MAX: u64 = 0x034;
const QUEUE_LENGTH: u64 = 0x038;
const QUEUE_LIVE: u64 = 0x044;
const QUEUE_NOTIFY: u64 = 0x050;
const INTERRUPT_STATUS: u64 = 0x060;
const INTERRUPT_ACK: u64 = 0x064;
const STATUS: u64 = 0x070;
const QUEUE_DESC_LOW: u64 = 0x080;
const QUEUE_DRIVER_LOW: u64 = 0x090;
const QUEUE_DEVICE_LOW: u64 = 0x0a0;
const SHARED_MEMORY_LENGTH_LOW: u64 = 0x0b0;
const SHARED_MEMORY_BASE_HIGH: u64 = 0x0bc;
const CONFIG: u64 = 0x100;

const MAGIC_VIRT: u64 = 0x74726976;
const VENDOR_GDWT: u64 = 0x54574447;
const ID_CONSOLE: u64 = 3;
const ID_ENTROPY: u64 = 4;
/** VIRTIO_F_VERSION_1, which a driver must accept; there is no other feature. */
const FEATURES: u64 = 1 << 32;

// Status bits (section 2.1).
const DRIVER_OK: u64 = 4;
const FEATURES_OK: u64 = 8;
const NEEDS_RESET: u64 = 64;
const INTERRUPT_USED: u64 = 1;
const INTERRUPT_CONFIG: u64 = 2;

/** Bytes moved before the hart looks up: about 10 us. */
const PASS_BYTES_MAX: u32 = 32768;
/** Random bytes for one request; a driver that wants more asks again. */
const ENTROPY_BYTES_MAX: u32 = 1024;

// Queues of the console: the device writes into the first and reads from the second.
const CONSOLE_RECEIVE: u32 = 0;
const CONSOLE_TRANSMIT: u32 = 1;

@inline function blockOf(device: u32): usize { return VIRTIO_DEVICES + <usize>device * VIRTIO_DEVICE_SIZE; }
@inline function queueOf(device: u32, queue: u32): usize {
  return blockOf(device) + VIRTIO_QUEUES + <usize>queue * VIRTIO_QUEUE_SIZE;
}
@inline function get(device: u32, field: usize): u64 { return atomic.load<u64>(blockOf(device) + field); }
@inline function set(device: u32, field: usize, value: u64): void {
  atomic.store<u64>(blockOf(device) + field, value);
}

function queueCount(device: u32): u64 { return device == VIRTIO_CONSOLE ? 2 : 1; }

/** Devices whose line is up, one bit each. */
export function virtioInterrupts(): u32 {
  let lines: u32 = 0;
  for (let device: u32 = 0; device < <u32>VIRTIO_COUNT; device++) {
    if (get(device, VIRTIO_INTERRUPT_STATUS)) lines |= 1 << device;
  }
  return lines;
}

function interrupt(device: u32, cause: u64): void {
  atomic.or<u64>(blockOf(device) + VIRTIO_INTERRUPT_STATUS, cause);
}

function needReset(device: u32): void {
  atomic.or<u64>(blockOf(device) + VIRTIO_STATUS, NEEDS_RESET);
  interrupt(device, INTERRUPT_CONFIG);
}

// ---------------------------------------------------------------------------- the devices

/** Prints the chain. */
function transmit(segments: i32): u32 {
  for (let n = 0; n < segments; n++) printLocked(segmentPlace(n), segmentBytes(n));
  return 0;
}

/** Fills the chain with console input. */
function receive(segments: i32): u32 {
  let bytes: u32 = 0;
  for (let n = 0; n < segments; n++) bytes += takeLocked(segmentPlace(n), segmentBytes(n));
  return bytes;
}

/** Fills the chain's first segment, or as much of it as one request gets, with random bytes. */
function randomize(): u32 {
  const bytes = min<u32>(segmentBytes(0), ENTROPY_BYTES_MAX);
  drawEntropy(segmentPlace(0), bytes);
  return bytes;
}

@inline function isReceive(device: u32, queue: u32): bool {
  return device == VIRTIO_CONSOLE && queue == CONSOLE_RECEIVE;
}

/** Bytes that wait for a receive buffer. */
function hasInput(): bool {
  return atomic.load<u64>(DEVICES_CONSOLE) == CONSOLE_AT_VIRTIO && inputWaits();
}

function isLive(device: u32, queue: u32): bool {
  const ready = atomic.load<u64>(queueOf(device, queue) + QUEUE_READY) != 0;
  return ready && (get(device, VIRTIO_STATUS) & (DRIVER_OK | NEEDS_RESET)) == DRIVER_OK;
}

/** How a pass over a queue ended. */
const PASS_DONE: i32 = 0;
const PASS_MISSING: i32 = 1;
const PASS_MORE: i32 = 2;

/** Serves what is available, under the lock. */
function pass(device: u32, queue: u32): i32 {
  const block = queueOf(device, queue);
  const writes = device == VIRTIO_ENTROPY || queue == CONSOLE_RECEIVE;
  let moved: u32 = 0;
  while (isLive(device, queue) && !(isReceive(device, queue) && !hasInput())) {
    const segments = takeChain(block, writes);
    if (segments == EMPTY) break;
    if (segments == MISSING) return PASS_MISSING;
    if (segments == BROKEN) {
      needReset(device);
      break;
    }
    if (moved >= PASS_BYTES_MAX) return PASS_MORE;
    for (let n = 0; n < segments; n++) moved += segmentBytes(n);
    const written = device == VIRTIO_ENTROPY ? randomize()
      : queue == CONSOLE_RECEIVE ? receive(segments) : transmit(segments);
    if (giveBack(written)) interrupt(device, INTERRUPT_USED);
  }
  return PASS_DONE;
}

/** A pass, and what must follow it: a wait for a page, a repetition. */
function serve(device: u32, queue: u32): void {
  lock();
  const end = pass(device, queue);
  unlock();
  alertHarts();
  if (end == PASS_MISSING) awaitMissing();
  else if (end == PASS_MORE) core.outcome = RETRY;
}

/** Between slices: hands console input to a driver that has given buffers for it. */
export function serveInput(): void {
  if (!hasInput() || !isLive(VIRTIO_CONSOLE, CONSOLE_RECEIVE)) return;
  serve(VIRTIO_CONSOLE, CONSOLE_RECEIVE);
  core.outcome = DONE;
}

// -------------------------------------------------------------------------- the registers

function selected(device: u32): usize {
  const queue = get(device, VIRTIO_QUEUE_SEL);
  return queue < queueCount(device) ? queueOf(device, <u32>queue) : 0;
}

/** Half of the features chosen by a selector: bits 0..31 or 32..63. */
@inline function half(features: u64, selector: u64): u64 {
  return selector < 2 ? features >> (selector << 5) & 0xffffffff : 0;
}

/** `size` bytes at an aligned offset of all devices' windows. */
export function readVirtio(offset: u64, size: u32): u64 {
  const device = <u32>(offset / VIRTIO_SIZE);
  const register = offset % VIRTIO_SIZE;
  if (register >= CONFIG || size != 4) return 0; // the console offers no field of its configuration
  if (register == MAGIC_VALUE) return MAGIC_VIRT;
  if (register == VERSION) return 2;
  if (register == DEVICE_ID) return device == VIRTIO_CONSOLE ? ID_CONSOLE : ID_ENTROPY;
  if (register == VENDOR_ID) return VENDOR_GDWT;
  if (register == DEVICE_FEATURES) return half(FEATURES, get(device, VIRTIO_DEVICE_FEATURES_SEL));
  if (register == INTERRUPT_STATUS) return get(device, VIRTIO_INTERRUPT_STATUS);
  if (register == STATUS) return get(device, VIRTIO_STATUS);
  // No shared memory region: its length and base are all ones.
  if (register >= SHARED_MEMORY_LENGTH_LOW && register <= SHARED_MEMORY_BASE_HIGH) return 0xffffffff;
  const queue = selected(device);
  if (register == QUEUE_LENGTH_MAX) return queue ? QUEUE_NUM_MAX : 0;
  return register == QUEUE_LIVE && queue ? atomic.load<u64>(queue + QUEUE_READY) : 0;
}

/** 4 bytes at an aligned offset; the rest is ignored. */
export function writeVirtio(offset: u64, size: u32, value: u64): void {
  const device = <u32>(offset / VIRTIO_SIZE);
  const register = offset % VIRTIO_SIZE;
  if (register >= CONFIG || size != 4) return;
  const word = <u64><u32>value;
  if (register == QUEUE_NOTIFY) {
    if (word < queueCount(device)) serve(device, <u32>word);
    return;
  }
  lock();
  if (register == STATUS) writeStatus(device, word);
  else if (register == INTERRUPT_ACK) {
    atomic.and<u64>(blockOf(device) + VIRTIO_INTERRUPT_STATUS, ~word);
  } else if (register == DEVICE_FEATURES_SEL) set(device, VIRTIO_DEVICE_FEATURES_SEL, word);
  else if (register == DRIVER_FEATURES_SEL) set(device, VIRTIO_DRIVER_FEATURES_SEL, word);
  else if (register == DRIVER_FEATURES) writeFeatures(device, word);
  else if (register == QUEUE_SELECT) set(device, VIRTIO_QUEUE_SEL, word);
  else writeQueue(device, register, word);
  unlock();
}

/** 0 resets the device. FEATURES_OK stays only if the driver's choice can be served (section 3.1.1). */
function writeStatus(device: u32, value: u64): void {
  if (!value) {
    memory.fill(blockOf(device), 0, VIRTIO_DEVICE_SIZE);
    return;
  }
  const status = value & 0xff & ~NEEDS_RESET | get(device, VIRTIO_STATUS) & NEEDS_RESET;
  const fits = get(device, VIRTIO_DRIVER_FEATURES) == FEATURES;
  set(device, VIRTIO_STATUS, fits ? status : status & ~FEATURES_OK);
}

function writeFeatures(device: u32, value: u64): void {
  const selector = get(device, VIRTIO_DRIVER_FEATURES_SEL);
  if (selector > 1 || get(device, VIRTIO_STATUS) & FEATURES_OK) return;
  const shift = selector << 5;
  const others = get(device, VIRTIO_DRIVER_FEATURES) & ~(<u64>0xffffffff << shift);
  set(device, VIRTIO_DRIVER_FEATURES, others | value << shift);
}

/** Registers of the selected queue. Of a live one nothing changes but that it dies. */
function writeQueue(device: u32, register: u64, value: u64): void {
  const queue = selected(device);
  if (!queue) return;
  if (register == QUEUE_LIVE) {
    const good = isQueueLength(atomic.load<u64>(queue + QUEUE_NUM));
    if ((value & 1) && !good) needReset(device);
    else atomic.store<u64>(queue + QUEUE_READY, value & 1);
    return;
  }
  if (atomic.load<u64>(queue + QUEUE_READY)) return;
  if (register == QUEUE_LENGTH) atomic.store<u64>(queue + QUEUE_NUM, value);
  else writeAddress(queue, register, value);
}

/** Half of one of a queue's three addresses. */
function writeAddress(queue: usize, register: u64, value: u64): void {
  const area = register & ~7;
  const field = area == QUEUE_DESC_LOW ? QUEUE_DESC : area == QUEUE_DRIVER_LOW ? QUEUE_DRIVER
    : area == QUEUE_DEVICE_LOW ? QUEUE_DEVICE : 0;
  if (!field || register & 3) return;
  const shift = <u64>(register & 4) << 3;
  const others = atomic.load<u64>(queue + field) & ~(<u64>0xffffffff << shift);
  atomic.store<u64>(queue + field, others | value << shift);
}
