/**
 * The vCPU of a workload guest: a thread that dirties memory at an exact rate and pattern.
 *
 * pattern (which page) -> hart gate (fill, park, flush: as any hart) -> stamp -> dirty log
 *
 * Runs on vCPU threads only; each hart writes its own pages, so no page has two writers. Its whole state
 * is one number, the writes done (HART_INSTRUCTIONS), brought up to date after every batch and before the
 * hart counts as STOPPED. Now and then it reads one of its pages back and compares the stamp with what it
 * must be: a lost write is then noticed by the running guest, long before an audit.
 */
import * as map from '../../assembly/memory-map.ts';
import { DirtyLog } from '../dirty-log.ts';
import { GuestMemory } from '../guest-memory.ts';
import { HartGate } from '../hart-gate.ts';
import { fillBase, PAGE_WORDS, ramWords, readStamp, STAMP_TAIL, stampPage } from './content.ts';
import { makeHash } from './hash.ts';
import { Pacer } from './pacer.ts';
import { WritePattern } from './pattern.ts';
import { readSpec, type WorkloadSpec } from './spec.ts';

/** Writes between two safepoints: 0.1 ms or so. */
const BATCH_WRITES = 1024;
/** Every so many writes one page is read back. A power of two. */
const READ_EVERY = 16;

// The hart's own words: pages read back that did not hold what they must, and the first of them.
export const WORKLOAD_WRONG_READS = map.HART_OWN + 0;
export const WORKLOAD_WRONG_PAGE = map.HART_OWN + 4;

/** Writes the base content of pages [fromPage, toPage). Threads may share the work by ranges. */
export function fillWorkload(
  guest: GuestMemory,
  spec: WorkloadSpec,
  fromPage: number,
  toPage: number,
): void {
  const words = ramWords(guest);
  const log = new DirtyLog(guest);
  for (let page = fromPage; page < toPage; page++) {
    fillBase(words, page * PAGE_WORDS, spec.content, spec.seed, page);
    if (spec.content !== 'zero') log.markDirty(page);
  }
}

/** Body of a vCPU thread: runs whenever the guest runs, returns when it quits. Blocks. */
export function runWorkload(memory: WebAssembly.Memory, hart: number): void {
  const guest = GuestMemory.adopt(memory);
  const gate = new HartGate(guest, hart);
  while (gate.waitForStart() === 'run') {
    // Spec and count are read anew each time: a restore may have put others there.
    if (gate.enter()) new WorkloadHart(gate).runUntilStop();
  }
}

/** Writes done by a hart; behind by at most one batch while it runs. */
export function writesDone(guest: GuestMemory, hart: number): number {
  return Number(Atomics.load(guest.i64, countIndex(hart)));
}

/** Pages that harts read back wrong, all harts together: 0 unless a write was lost. */
export function wrongReads(guest: GuestMemory): number {
  let wrong = 0;
  for (let hart = 0; hart < guest.harts; hart++) {
    wrong += Atomics.load(guest.i32, guest.hartWord(hart, WORKLOAD_WRONG_READS));
  }
  return wrong;
}

/** Index in `i64` of a hart's count of writes. */
export function countIndex(hart: number): number {
  return (map.HARTS + hart * map.HART_SIZE + map.HART_INSTRUCTIONS) >> 3;
}

/** One run of a hart, from enter to leave. */
class WorkloadHart {
  readonly #gate: HartGate;
  readonly #guest: GuestMemory;
  readonly #words: Int32Array<SharedArrayBuffer>;
  readonly #pattern: WritePattern;
  readonly #pacer: Pacer;
  readonly #pick: (index: number) => number;
  readonly #passWrites: number;
  #done: number;

  constructor(gate: HartGate) {
    const { guest, hart } = gate;
    const spec = readSpec(guest);
    this.#gate = gate;
    this.#guest = guest;
    this.#words = ramWords(guest);
    this.#pattern = new WritePattern(spec, guest.pages, guest.harts, hart);
    this.#pacer = new Pacer(spec.pattern, guest.harts, performance.now());
    this.#passWrites = Math.ceil(guest.pages / guest.harts);
    this.#pick = makeHash(spec.seed, 0x4ead + hart);
    this.#done = writesDone(guest, hart);
  }

  runUntilStop(): void {
    const cursor = this.#pattern.cursor(this.#done);
    const i32 = this.#guest.i32;
    // The page of the write that comes next: it is drawn once, and done later if the hart stops first.
    let next = cursor.next();
    let going = true;
    while (going && this.#gate.safepoint() === 'run') {
      const rate = Atomics.load(i32, map.CONTROL_WORKLOAD_RATE >> 2);
      const throttle = Atomics.load(i32, map.CONTROL_THROTTLE >> 2);
      const due = this.#pacer.due(performance.now(), rate, throttle);
      if (due === 0) {
        this.#gate.publishCounters();
        this.#gate.sleep(this.#pacer.waitMs());
        continue;
      }
      const until = this.#done + Math.min(due, BATCH_WRITES);
      const began = this.#done;
      while (this.#done < until) {
        if (!this.#gate.writable(next)) {
          going = false;
          break;
        }
        stampPage(this.#words, next * PAGE_WORDS, next, ++this.#done);
        next = cursor.next();
        if ((this.#done & (READ_EVERY - 1)) === 0 && !this.#readBack()) {
          going = false;
          break;
        }
      }
      this.#pacer.did(this.#done - began);
      Atomics.store(this.#guest.i64, countIndex(this.#gate.hart), BigInt(this.#done));
    }
    this.#gate.leave();
  }

  /** Reads back the page of some earlier write of this hart. False: the hart must stop. */
  #readBack(): boolean {
    // Not older than a pass: what lies further back has been written again.
    const back = this.#pick(this.#done) % Math.min(this.#done, this.#passWrites);
    const page = this.#pattern.page(this.#done - 1 - back);
    if (!this.#gate.readable(page)) return false;
    const expected = this.#pattern.lastWrite(page, this.#done) + 1;
    const at = page * PAGE_WORDS;
    const head = readStamp(this.#words, at, page);
    const tail = readStamp(this.#words, at + STAMP_TAIL, page);
    if (head !== expected || tail !== expected) this.#noteWrong(page);
    return true;
  }

  #noteWrong(page: number): void {
    const { hart } = this.#gate;
    const count = this.#guest.hartWord(hart, WORKLOAD_WRONG_READS);
    if (Atomics.add(this.#guest.i32, count, 1) > 0) return;
    Atomics.store(this.#guest.i32, this.#guest.hartWord(hart, WORKLOAD_WRONG_PAGE), page);
  }
}
