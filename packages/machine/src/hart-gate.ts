/**
 * What a hart must do to touch guest memory, as JavaScript: the workload guest's vCPU threads go
 * through these functions, the wasm hart does the same inside the core. One object a vCPU thread.
 *
 *   instruction -> [hart gate: write TLB -> page state -> dirty bit] -> RAM
 *
 * Who does what. The vCPU thread owns its TLB and its state word while RUNNING; the harvester
 * (dirty-log.ts, main thread) may hold a hart that is PARKED or STOPPED; the host (run-control.ts) sets
 * CONTROL_RUN; a landing thread (page-states.ts) clears the fault slot. The transitions:
 *
 *   STOPPED -> RUNNING   enter       vCPU thread   then obeys a pending flush, looks at RUN, rings BELL_ACK
 *   RUNNING -> STOPPED   leave       vCPU thread   then rings BELL_ACK
 *   RUNNING -> PARKED    park        vCPU thread   then rings BELL_ACK if a flush is pending
 *   PARKED  -> RUNNING   unpark      vCPU thread   then obeys a pending flush
 *   PARKED, STOPPED <-> HELD         harvester     disarms the write entries in between
 *
 * All are compare-and-set. A hart that finds itself HELD waits on its state word for the moment it takes.
 *
 * Three orders keep writes and wake-ups from being lost; each is "store mine, then load yours" on both
 * sides, so at least one side sees the other:
 *   - dirty bit, then TLB entry, then store: a hit never needs a mark. The harvester takes the bits, then
 *     asks for the flush, and reads pages only after the acknowledgement;
 *   - park, then look for a flush; the harvester asks for the flush, then looks for a parked hart;
 *   - fault slot WAITING, then look at page state and RUN; the lander sets the state (the host RUN), then
 *     looks for WAITING slots.
 *
 * Everything here may block, so it is for vCPU threads only.
 */
import * as map from '../assembly/memory-map.ts';
import { MachineError } from './errors.ts';
import type { GuestMemory } from './guest-memory.ts';
import { ringBell } from './word-wait.ts';

/** A throttled hart runs so long, then sleeps its share. */
const THROTTLE_QUANTUM_MS = 10;
const THROTTLE_SLEEP_MAX_MS = 1000;
/** The harvester holds a hart for as long as 2,048 entries take. */
const HELD_LIMIT_MS = 2000;

const RUN = map.CONTROL_RUN >> 2;
const FLUSH = map.CONTROL_FLUSH >> 2;
const GATED = map.CONTROL_GATED >> 2;
const THROTTLE = map.CONTROL_THROTTLE >> 2;
const BELL_ACK = map.CONTROL_BELL_ACK >> 2;
const BELL_FAULT = map.CONTROL_BELL_FAULT >> 2;
const ENTRY_WORDS_SHIFT = 2;
const ENTRY_MASK = map.TLB_ENTRIES - 1;

export class HartGate {
  readonly guest: GuestMemory;
  readonly hart: number;
  readonly #i32: Int32Array<SharedArrayBuffer>;
  readonly #heat: Uint8Array<SharedArrayBuffer>;
  readonly #tlb: Uint8Array<SharedArrayBuffer>;
  /** Word indices of this hart. */
  readonly #state: number;
  readonly #flushSeen: number;
  readonly #wake: number;
  readonly #faultState: number;
  readonly #readTlb: number;
  readonly #writeTlb: number;
  #writeFills = 0;
  #ranSinceMs = 0;

  constructor(guest: GuestMemory, hart: number) {
    this.guest = guest;
    this.hart = hart;
    this.#i32 = guest.i32;
    this.#heat = new Uint8Array(guest.sab, map.HEAT, guest.pages);
    const tlb = map.TLB + hart * map.TLB_SIZE;
    this.#tlb = new Uint8Array(guest.sab, tlb, map.TLB_SIZE);
    this.#readTlb = (tlb + map.TLB_READ) >> 2;
    this.#writeTlb = (tlb + map.TLB_WRITE) >> 2;
    this.#state = guest.hartWord(hart, map.HART_STATE);
    this.#flushSeen = guest.hartWord(hart, map.HART_FLUSH_SEEN);
    this.#wake = guest.hartWord(hart, map.HART_WAKE);
    this.#faultState = guest.hartWord(hart, map.HART_FAULT_STATE);
  }

  /**
   * Makes sure a store to the page is logged. True: store now, before the next safepoint, park or
   * gate call that misses. False: the hart must stop, and the store must not be done.
   */
  writable(page: number): boolean {
    const entry = this.#writeTlb + ((page & ENTRY_MASK) << ENTRY_WORDS_SHIFT);
    return this.#i32[entry] === page << map.PAGE_SHIFT || this.#fillWrite(page, entry);
  }

  /** Makes sure the page is present. False: the hart must stop. */
  readable(page: number): boolean {
    const entry = this.#readTlb + ((page & ENTRY_MASK) << ENTRY_WORDS_SHIFT);
    if (this.#i32[entry] === page << map.PAGE_SHIFT) return true;
    if (!this.#present(page)) return false;
    this.#i32[entry] = page << map.PAGE_SHIFT;
    return true;
  }

  /**
   * To be called at least every 100 us or so while RUNNING: obeys flush, throttle and stop.
   * After 'stop' the caller saves its state and calls `leave`.
   */
  safepoint(): 'run' | 'stop' {
    this.#obeyFlush();
    if (Atomics.load(this.#i32, RUN) !== map.RUN_GO) return 'stop';
    const throttle = Atomics.load(this.#i32, THROTTLE);
    if (throttle > 0) {
      this.#throttle(throttle);
      if (Atomics.load(this.#i32, RUN) !== map.RUN_GO) return 'stop';
    }
    return 'run';
  }

  /**
   * Blocks while the guest is stopped. 'quit': the thread must end. Ends by run-control.ts only, which
   * rings the wake word after every change of CONTROL_RUN.
   */
  waitForStart(): 'run' | 'quit' {
    for (;;) {
      const rung = Atomics.load(this.#i32, this.#wake);
      const run = Atomics.load(this.#i32, RUN);
      if (run === map.RUN_GO) return 'run';
      if (run === map.RUN_QUIT) return 'quit';
      Atomics.wait(this.#i32, this.#wake, rung);
    }
  }

  /** STOPPED -> RUNNING with an empty TLB. False: stopped again meanwhile, nothing was entered. */
  enter(): boolean {
    this.#move(map.HART_STOPPED, map.HART_RUNNING);
    this.#tlb.fill(map.TLB_EMPTY_BYTE);
    this.#obeyFlush();
    if (Atomics.load(this.#i32, RUN) !== map.RUN_GO) {
      this.#toStopped();
      return false;
    }
    this.#ranSinceMs = performance.now();
    this.#stamp(map.HART_STARTED_NS);
    ringBell(this.#i32, BELL_ACK);
    return true;
  }

  /** RUNNING -> STOPPED. The hart's own state must be in memory already. */
  leave(): void {
    this.publishCounters();
    this.#stamp(map.HART_STOPPED_NS);
    this.#toStopped();
  }

  /** Sleeps as in WFI: until the time is over, the wake word rings or the guest stops. */
  sleep(limitMs: number): void {
    const rung = Atomics.load(this.#i32, this.#wake);
    if (Atomics.load(this.#i32, RUN) !== map.RUN_GO) return;
    this.#park();
    Atomics.wait(this.#i32, this.#wake, rung, limitMs);
    this.#unpark();
    this.#ranSinceMs = performance.now();
  }

  /** Adds what was counted since the last call to the guest's counters. */
  publishCounters(): void {
    if (this.#writeFills === 0) return;
    Atomics.add(this.guest.i64, map.CONTROL_WRITE_FILLS >> 3, BigInt(this.#writeFills));
    this.#writeFills = 0;
  }

  #fillWrite(page: number, entry: number): boolean {
    if (!this.#present(page)) return false;
    Atomics.or(this.#i32, (map.DIRTY >> 2) + (page >>> 5), 1 << (page & 31));
    this.#warm(page);
    this.#writeFills++;
    this.#i32[entry] = page << map.PAGE_SHIFT;
    return true;
  }

  #present(page: number): boolean {
    if (Atomics.load(this.#i32, GATED) === 0) return true;
    return pageIsPresent(this.#i32, page) || this.#waitForPage(page);
  }

  #waitForPage(page: number): boolean {
    const beganMs = performance.now();
    const { guest, hart } = this;
    this.#warm(page);
    Atomics.add(guest.i64, map.CONTROL_FAULTS >> 3, 1n);
    let present = false;
    Atomics.store(this.#i32, guest.hartWord(hart, map.HART_FAULT_PAGE), page);
    this.#park();
    for (;;) {
      // A new sequence number each time: a page that went back to absent is asked for again.
      Atomics.add(this.#i32, guest.hartWord(hart, map.HART_FAULT_SEQUENCE), 1);
      Atomics.store(this.#i32, this.#faultState, map.FAULT_WAITING);
      present = pageIsPresent(this.#i32, page);
      if (present || Atomics.load(this.#i32, RUN) !== map.RUN_GO) break;
      ringBell(this.#i32, BELL_FAULT);
      Atomics.wait(this.#i32, this.#faultState, map.FAULT_WAITING);
    }
    Atomics.store(this.#i32, this.#faultState, map.FAULT_NONE);
    this.#unpark();
    if (present) this.#noteStall(performance.now() - beganMs);
    return present;
  }

  #throttle(partsPerThousand: number): void {
    const ranMs = performance.now() - this.#ranSinceMs;
    if (ranMs < THROTTLE_QUANTUM_MS) return;
    const share = Math.min(partsPerThousand, 999) / 1000;
    const owedMs = (Math.min(ranMs, 2 * THROTTLE_QUANTUM_MS) * share) / (1 - share);
    this.sleep(Math.min(owedMs, THROTTLE_SLEEP_MAX_MS));
  }

  #obeyFlush(): void {
    const flush = Atomics.load(this.#i32, FLUSH);
    if (flush === Atomics.load(this.#i32, this.#flushSeen)) return;
    this.#tlb.fill(map.TLB_EMPTY_BYTE, map.TLB_WRITE, map.TLB_WRITE + map.TLB_ARRAY_SIZE);
    Atomics.store(this.#i32, this.#flushSeen, flush);
    ringBell(this.#i32, BELL_ACK);
  }

  #park(): void {
    this.#move(map.HART_RUNNING, map.HART_PARKED);
    // The harvester may have asked and looked just before, while this hart was still RUNNING.
    const flush = Atomics.load(this.#i32, FLUSH);
    if (flush !== Atomics.load(this.#i32, this.#flushSeen)) ringBell(this.#i32, BELL_ACK);
  }

  #unpark(): void {
    this.#move(map.HART_PARKED, map.HART_RUNNING);
    this.#obeyFlush();
  }

  #toStopped(): void {
    this.#move(map.HART_RUNNING, map.HART_STOPPED);
    ringBell(this.#i32, BELL_ACK);
  }

  #move(from: number, to: number): void {
    const deadlineMs = performance.now() + HELD_LIMIT_MS;
    for (;;) {
      const was = Atomics.compareExchange(this.#i32, this.#state, from, to);
      if (was === from) return;
      if (was !== map.HART_HELD || performance.now() > deadlineMs) {
        throw new MachineError('hart.bad_transition', { hart: this.hart, from: was, to });
      }
      Atomics.wait(this.#i32, this.#state, map.HART_HELD, HELD_LIMIT_MS);
    }
  }

  /** Saturating, not atomic: heat only orders pages, a lost count does no harm. */
  #warm(page: number): void {
    const heat = this.#heat[page]!;
    if (heat < 255) this.#heat[page] = heat + 1;
  }

  #noteStall(stallMs: number): void {
    const word = this.guest.hartWord(this.hart, map.HART_STALL_US);
    const stallUs = Math.round(stallMs * 1000);
    if (stallUs > Atomics.load(this.#i32, word)) Atomics.store(this.#i32, word, stallUs);
  }

  #stamp(offset: number): void {
    const index = (map.HARTS + this.hart * map.HART_SIZE + offset) >> 3;
    Atomics.store(this.guest.i64, index, process.hrtime.bigint());
  }
}

/** Whether STATE says PRESENT; only meaningful while CONTROL_GATED is 1. */
export function pageIsPresent(i32: Int32Array<SharedArrayBuffer>, page: number): boolean {
  const word = Atomics.load(i32, (map.STATE >> 2) + (page >>> 4));
  return ((word >>> ((page & 15) << 1)) & 3) === map.PAGE_PRESENT;
}
