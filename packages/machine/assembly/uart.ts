/**
 * UART 16550A, and behind it the console: two byte streams with 64-bit offsets.
 *
 * guest store to THR -> [uart] -> output ring -> src/console-ring.ts -> the console's client
 * the console's client -> src/console-ring.ts -> input ring -> [uart] -> guest load of RBR
 *
 *   thread    may advance                          why
 *   a hart    OUT_WRITTEN, IN_TAKEN (under the devices' lock)  several harts share the UART
 *   the host  IN_WRITTEN, OUT_ACKED                one writer: the thread that owns the console
 *
 * The transmitter is always ready: when the ring is full the oldest bytes are overwritten, and a reader
 * sees by its offset what it missed. A guest is never slowed by a console nobody reads. The receiver's
 * FIFO is the input ring itself, so no byte is lost before the guest is ready for it, and clearing the
 * FIFO clears nothing: those bytes have not arrived yet.
 *
 * Two interrupts, both levels: "received" while there is input, "transmitted" from a byte sent, or from
 * being enabled, until IIR names it. Output of the virtio console and of SBI goes into the same stream.
 */
import {
  CONSOLE_AT_UART, CONSOLE_IN, CONSOLE_IN_TAKEN, CONSOLE_IN_WRITTEN, CONSOLE_LISTENED, CONSOLE_OUT,
  CONSOLE_OUT_ACKED, CONSOLE_OUT_WRITTEN, CONSOLE_RING_SIZE, DEVICES_CONSOLE, UART_DIVISOR, UART_FCR, UART_IER, UART_LCR, UART_MCR, UART_SCR, UART_THRE_PENDING,
} from './machine-map.ts';
import { CONTROL_BELL_DEVICE } from './memory-map.ts';
import { ring } from './park';
import { lock, unlock } from './syscon';

// Register numbers (offset in the UART's window).
const DATA: u64 = 0;
const IER: u64 = 1;
const IIR_FCR: u64 = 2;
const LCR: u64 = 3;
const MCR: u64 = 4;
const LSR: u64 = 5;
const MSR: u64 = 6;
const SCR: u64 = 7;

const LCR_DIVISOR_LATCH: u64 = 0x80;
const LSR_DATA_READY: u64 = 0x01;
/** Transmitter holding register and shift register empty: always. */
const LSR_TRANSMITTER_EMPTY: u64 = 0x60;
const IER_RECEIVED: u64 = 0x01;
const IER_TRANSMITTED: u64 = 0x02;
const IIR_NONE: u64 = 0x01;
const IIR_TRANSMITTED: u64 = 0x02;
const IIR_RECEIVED: u64 = 0x04;
const FCR_ENABLE: u64 = 0x01;
const MCR_LOOPBACK: u64 = 0x10;
/** Clear to send, data set ready, carrier: a terminal that is always there. */
const MSR_CONNECTED: u64 = 0xb0;

@inline function get(register: usize): u64 { return atomic.load<u64>(register); }
@inline function set(register: usize, value: u64): void { atomic.store<u64>(register, value & 0xff); }

/** Appends bytes to the output stream; for a caller that holds the devices' lock. */
export function printLocked(from: usize, count: u32): void {
  const offset = get(CONSOLE_OUT_WRITTEN);
  for (let i: u32 = 0; i < count; i++) {
    store<u8>(CONSOLE_OUT + <usize>((offset + i) % CONSOLE_RING_SIZE), load<u8>(from + i));
  }
  atomic.store<u64>(CONSOLE_OUT_WRITTEN, offset + count);
  if (atomic.load<u32>(CONSOLE_LISTENED)) ring(CONTROL_BELL_DEVICE);
}

/** Appends a byte to the output stream. */
export function print(byte: u8): void {
  lock();
  const offset = get(CONSOLE_OUT_WRITTEN);
  store<u8>(CONSOLE_OUT + <usize>(offset % CONSOLE_RING_SIZE), byte);
  atomic.store<u64>(CONSOLE_OUT_WRITTEN, offset + 1);
  unlock();
  if (atomic.load<u32>(CONSOLE_LISTENED)) ring(CONTROL_BELL_DEVICE);
}

/** Whether a reader who listens has half a ring still to read. */
export function outputWaits(): bool {
  return atomic.load<u32>(CONSOLE_LISTENED) != 0
    && get(CONSOLE_OUT_WRITTEN) - get(CONSOLE_OUT_ACKED) > <u64>CONSOLE_RING_SIZE / 2;
}

/** Input nobody has taken yet, for whichever device the console is attached to. */
export function inputWaits(): bool { return get(CONSOLE_IN_WRITTEN) != get(CONSOLE_IN_TAKEN); }

/** Takes up to `count` bytes of the input stream; for a caller that holds the devices' lock. */
export function takeLocked(into: usize, count: u32): u32 {
  const offset = get(CONSOLE_IN_TAKEN);
  const taken = <u32>min<u64>(get(CONSOLE_IN_WRITTEN) - offset, <u64>count);
  for (let i: u32 = 0; i < taken; i++) {
    store<u8>(into + i, load<u8>(CONSOLE_IN + <usize>((offset + i) % CONSOLE_RING_SIZE)));
  }
  atomic.store<u64>(CONSOLE_IN_TAKEN, offset + taken);
  return taken;
}

/** Whether the UART itself has received something. */
function received(): bool { return get(DEVICES_CONSOLE) == CONSOLE_AT_UART && inputWaits(); }

/** Takes the next byte the UART has received; 0 when there is none. */
function take(): u64 {
  lock();
  let byte: u64 = 0;
  if (received()) {
    const offset = get(CONSOLE_IN_TAKEN);
    byte = load<u8>(CONSOLE_IN + <usize>(offset % CONSOLE_RING_SIZE));
    atomic.store<u64>(CONSOLE_IN_TAKEN, offset + 1);
  }
  unlock();
  return byte;
}

/** The interrupt line. */
export function uartInterrupts(): bool {
  const enabled = get(UART_IER);
  if (enabled & IER_TRANSMITTED && get(UART_THRE_PENDING)) return true;
  return (enabled & IER_RECEIVED) != 0 && received();
}

/** Interrupt identification: the first cause, and the FIFO bits. Reading ends "transmitted". */
function identify(): u64 {
  const fifo: u64 = get(UART_FCR) & FCR_ENABLE ? 0xc0 : 0;
  const enabled = get(UART_IER);
  if (enabled & IER_RECEIVED && received()) return IIR_RECEIVED | fifo;
  if (!(enabled & IER_TRANSMITTED) || !get(UART_THRE_PENDING)) return IIR_NONE | fifo;
  set(UART_THRE_PENDING, 0);
  return IIR_TRANSMITTED | fifo;
}

function modemStatus(): u64 {
  const control = get(UART_MCR);
  if (!(control & MCR_LOOPBACK)) return MSR_CONNECTED;
  // Loopback: RTS, DTR, OUT1, OUT2 come back as CTS, DSR, RI, DCD.
  return (control & 2) << 3 | (control & 1) << 5 | (control & 12) << 4;
}

@inline function latched(): bool { return (get(UART_LCR) & LCR_DIVISOR_LATCH) != 0; }

export function readUart(offset: u64): u64 {
  if (offset == DATA) return latched() ? get(UART_DIVISOR) & 0xff : take();
  if (offset == IER) return latched() ? get(UART_DIVISOR) >> 8 : get(UART_IER);
  if (offset == IIR_FCR) return identify();
  if (offset == LCR) return get(UART_LCR);
  if (offset == MCR) return get(UART_MCR);
  if (offset == LSR) return LSR_TRANSMITTER_EMPTY | (received() ? LSR_DATA_READY : 0);
  if (offset == MSR) return modemStatus();
  return offset == SCR ? get(UART_SCR) : 0;
}

export function writeUart(offset: u64, value: u64): void {
  if (offset == DATA || offset == IER) writeLow(offset, value & 0xff);
  else if (offset == IIR_FCR) set(UART_FCR, value & 0xc9); // the "clear FIFO" bits do not stay
  else if (offset == LCR) set(UART_LCR, value);
  else if (offset == MCR) set(UART_MCR, value & 0x1f);
  else if (offset == SCR) set(UART_SCR, value);
}

/** The two registers that are the divisor's halves while LCR says so. */
function writeLow(offset: u64, value: u64): void {
  if (latched()) {
    const shift = offset << 3;
    const divisor = get(UART_DIVISOR) & ~(<u64>0xff << shift);
    atomic.store<u64>(UART_DIVISOR, divisor | value << shift);
  } else if (offset == IER) {
    const raised = value & ~get(UART_IER);
    set(UART_IER, value & 0x0f);
    if (raised & IER_TRANSMITTED) set(UART_THRE_PENDING, 1);
  } else {
    print(<u8>value);
    set(UART_THRE_PENDING, 1);
  }
}
