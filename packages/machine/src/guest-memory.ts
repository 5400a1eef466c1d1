/**
 * One guest's shared memory: made once, seen by every thread of the agent.
 *
 * A guest is one shared WebAssembly.Memory laid out by assembly/memory-map.ts. vCPU threads execute
 * on it, channel threads move its pages to and from sockets, the main thread harvests and stops. This
 * file makes the memory, checks it on arrival in another thread and gives the two views everything
 * else is built on: the control area as 32-bit words and RAM as bytes.
 *
 *   thread     may                                  never
 *   main       create, reset                        reset while a hart, a socket or a callback uses it
 *   others     adopt                                change magic, version, harts or pages
 *
 * `adopt` exists because postMessage hands over the Memory but not this object: magic and version are
 * checked there so that a wrong buffer is an error and not a corrupted guest.
 */
import * as map from '../assembly/memory-map.ts';
import { MachineError } from './errors.ts';
import { loadPageOps } from './page-ops.ts';

const MIB = 1048576;
const WASM_PAGE_BYTES = 65536;

export const RAM_BYTES_MIN = MIB;
export const RAM_BYTES_MAX = map.PAGES_MAX * map.PAGE_SIZE;
/**
 * RAM comes in steps of 1 MiB: 256 pages are whole words of every bitmap, so that no bitmap ever has
 * bits past its last page and nobody has to mask them.
 */
export const RAM_BYTES_STEP = MIB;

export interface GuestMemoryOptions {
  /** Bytes of guest RAM, RAM_BYTES_MIN to RAM_BYTES_MAX in steps of RAM_BYTES_STEP. */
  readonly ramBytes: number;
  /** Harts (vCPU threads), 1 to 8. */
  readonly harts: number;
}

export class GuestMemory {
  readonly memory: WebAssembly.Memory;
  readonly sab: SharedArrayBuffer;
  /** Pages of RAM, 4096 bytes each. */
  readonly pages: number;
  readonly ramBytes: number;
  readonly harts: number;
  /** Everything before RAM as 32-bit words: index = byte offset / 4. */
  readonly i32: Int32Array<SharedArrayBuffer>;
  /** The same as 64-bit words, for the counters: index = byte offset / 8. */
  readonly i64: BigInt64Array<SharedArrayBuffer>;
  readonly #ram: Uint8Array<SharedArrayBuffer>;

  private constructor(memory: WebAssembly.Memory) {
    this.memory = memory;
    this.sab = memory.buffer as SharedArrayBuffer;
    this.i32 = new Int32Array(this.sab, 0, map.RAM / 4);
    this.i64 = new BigInt64Array(this.sab, 0, map.RAM / 8);
    this.harts = Atomics.load(this.i32, map.CONTROL_HARTS >> 2);
    this.pages = Atomics.load(this.i32, map.CONTROL_PAGES >> 2);
    this.ramBytes = this.pages * map.PAGE_SIZE;
    this.#ram = new Uint8Array(this.sab, map.RAM, this.ramBytes);
  }

  /**
   * A new guest memory, all zero, every page PRESENT only by CONTROL_GATED = 0.
   *
   * @throws MachineError memory.bad_size, memory.bad_harts, memory.no_room (address space or memory
   *   limit of the process)
   */
  static create(options: GuestMemoryOptions): GuestMemory {
    checkSize(options.ramBytes);
    checkHarts(options.harts);
    const wasmPages = (map.RAM + options.ramBytes) / WASM_PAGE_BYTES;
    let memory: WebAssembly.Memory;
    try {
      // Initial = maximum: the buffer never grows, so a view of it is valid as long as the guest is.
      memory = new WebAssembly.Memory({ initial: wasmPages, maximum: wasmPages, shared: true });
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : String(cause);
      throw new MachineError('memory.no_room', { ramBytes: options.ramBytes, reason }, { cause });
    }
    const words = new Int32Array(memory.buffer as SharedArrayBuffer, 0, map.RAM / 4);
    writeIdentity(words, options.harts, options.ramBytes / map.PAGE_SIZE);
    return new GuestMemory(memory);
  }

  /**
   * The guest in a memory that came from another thread.
   *
   * @throws MachineError memory.not_a_guest when magic, version, harts or size are not what `create` wrote
   */
  static adopt(memory: WebAssembly.Memory): GuestMemory {
    const buffer: ArrayBufferLike = memory.buffer;
    const refuse = (reason: string) => new MachineError('memory.not_a_guest', { reason });
    if (!(buffer instanceof SharedArrayBuffer)) throw refuse('it is not shared');
    if (buffer.byteLength <= map.RAM) throw refuse(`it has only ${buffer.byteLength} bytes`);
    const words = new Int32Array(buffer, 0, map.RAM / 4);
    const word = (offset: number) => Atomics.load(words, offset >> 2);
    if (word(map.CONTROL_MAGIC) !== map.MAGIC) throw refuse('the magic number is missing');
    const version = word(map.CONTROL_VERSION);
    if (version !== map.MAP_VERSION) throw refuse(`version ${version}, not ${map.MAP_VERSION}`);
    const harts = word(map.CONTROL_HARTS);
    if (harts < 1 || harts > map.HARTS_MAX) throw refuse(`${harts} harts`);
    const bytes = map.RAM + word(map.CONTROL_PAGES) * map.PAGE_SIZE;
    if (buffer.byteLength !== bytes) throw refuse(`${buffer.byteLength} bytes, not ${bytes}`);
    return new GuestMemory(memory);
  }

  /** All of RAM; byte 0 is the start of page 0. */
  ram(): Uint8Array<SharedArrayBuffer> {
    return this.#ram;
  }

  /** Byte offset of a page in the whole memory (`sab`). */
  ramOffset(page: number): number {
    return map.RAM + this.#checked(page) * map.PAGE_SIZE;
  }

  /** The 4096 bytes of one page. Makes a view: not for a loop over many pages. */
  page(page: number): Uint8Array<SharedArrayBuffer> {
    const start = this.#checked(page) * map.PAGE_SIZE;
    return this.#ram.subarray(start, start + map.PAGE_SIZE);
  }

  /** Index in `i32` of a hart's word (HART_* offset). */
  hartWord(hart: number, offset: number): number {
    return (map.HARTS + hart * map.HART_SIZE + offset) >> 2;
  }

  /** A CONTROL_* word. */
  control(offset: number): number {
    return Atomics.load(this.i32, offset >> 2);
  }

  setControl(offset: number, value: number): void {
    Atomics.store(this.i32, offset >> 2, value);
  }

  /**
   * Makes the memory a new guest's: everything but RAM is as after `create`. RAM keeps its old bytes,
   * and whoever reuses it wipes or overwrites every page. Only when nobody uses the guest any more.
   *
   * @throws MachineError memory.bad_harts
   */
  reset(harts: number = this.harts): GuestMemory {
    checkHarts(harts);
    const { fill } = loadPageOps(this.memory);
    // DECODE is 128 MiB of address space that only a machine's harts ever touch; zeroing it for a
    // workload would make it real memory.
    const decoded = this.control(map.CONTROL_KIND) === map.GUEST_WORKLOAD ? 0 : this.harts;
    fill(map.CORE, 0, map.DECODE - map.CORE + decoded * map.DECODE_SIZE);
    writeIdentity(this.i32, harts, this.pages);
    return new GuestMemory(this.memory);
  }

  #checked(page: number): number {
    if (page >= 0 && page < this.pages && Number.isInteger(page)) return page;
    throw new MachineError('memory.page_out_of_range', { page, pages: this.pages });
  }
}

function writeIdentity(words: Int32Array<SharedArrayBuffer>, harts: number, pages: number): void {
  // A zeroed TLB would say that page 0 may be written without being marked.
  const bytes = new Uint8Array(words.buffer);
  bytes.fill(map.TLB_EMPTY_BYTE, map.TLB, map.TLB + harts * map.TLB_SIZE);
  Atomics.store(words, map.CONTROL_HARTS >> 2, harts);
  Atomics.store(words, map.CONTROL_PAGES >> 2, pages);
  Atomics.store(words, map.CONTROL_VERSION >> 2, map.MAP_VERSION);
  Atomics.store(new BigInt64Array(words.buffer), map.CONTROL_STOP_AT >> 3, -1n);
  Atomics.store(words, map.CONTROL_MAGIC >> 2, map.MAGIC);
}

function checkSize(ramBytes: number): void {
  const fits = ramBytes >= RAM_BYTES_MIN && ramBytes <= RAM_BYTES_MAX;
  if (fits && ramBytes % RAM_BYTES_STEP === 0) return;
  throw new MachineError('memory.bad_size', {
    ramBytes,
    minBytes: RAM_BYTES_MIN,
    maxBytes: RAM_BYTES_MAX,
    stepBytes: RAM_BYTES_STEP,
  });
}

function checkHarts(harts: number): void {
  if (Number.isInteger(harts) && harts >= 1 && harts <= map.HARTS_MAX) return;
  throw new MachineError('memory.bad_harts', { harts, max: map.HARTS_MAX });
}
