/**
 * Room for guests on this host: who has reserved how much, and memories of guests that left.
 *
 *   create, reservation -> [memory pool] -> guest -> (threads ended, sockets closed) -> scrub -> [memory pool]
 *
 * Reservations add up: a migration that comes in holds its room from the offer on, before a byte of it
 * is touched. A memory that comes back is kept for the next guest of its size, because Node
 * returns a dropped shared memory only in a garbage collection after the last thread that saw it
 * ended: twelve guests of 256 MiB in a row would leave 3 GiB resident. Idle memories are bounded by the
 * room that nobody reserved, are dropped with an explicit collection after a while, and are reported.
 *
 * RAM is zeroed when it comes back, not when it is wanted: what a guest leaves is nobody else's to
 * read, and the next one finds memory that is zero and warm, so that no zero page need be written.
 *
 * Main thread only.
 */
import { GuestMemory, type GuestMemoryOptions } from '@godwit/machine';
import { GodwitError } from '@godwit/protocol';
import { collectGarbage } from '../collect.ts';
import { collectThreads, Thread } from '../thread.ts';
import { adviseHugePages } from './huge-pages.ts';
import { asGodwitError } from './machine-errors.ts';
import type { ScrubCommands } from './scrub.worker.ts';

/** How long a memory waits for another guest of its size: longer than a pause between two moves. */
const IDLE_MS = 30_000;

export interface PooledMemory {
  readonly memory: GuestMemory;
  /**
   * Of a memory that was used before: resolves when all of RAM is zero, and until then nobody may touch
   * it. Null for a new one, which is zero but cold: its first touch is still to be paid.
   */
  readonly scrubbed: Promise<void> | null;
}

interface Idle {
  readonly memory: GuestMemory;
  readonly sinceMs: number;
  readonly scrubbed: Promise<void>;
}

export class MemoryPool {
  readonly capacityBytes: number;
  readonly #host: string;
  readonly #scrub: typeof scrubOnThread;
  readonly #reserved = new Map<string, number>();
  #idle: Idle[] = [];
  /** Under way: also of a memory that was taken, or dropped, meanwhile. */
  readonly #scrubs = new Set<Promise<void>>();
  /** The last of them: they are done one after another, because a host that is drained has other work. */
  #scrubbing: Promise<unknown> = Promise.resolve();
  #timer: NodeJS.Timeout | undefined;
  /** Resolved when the next memory comes back. */
  #given = Promise.withResolvers<void>();

  /** @param scrub zeroes all of RAM, on a thread */
  constructor(host: string, capacityBytes: number, scrub = scrubOnThread) {
    this.#host = host;
    this.capacityBytes = capacityBytes;
    this.#scrub = scrub;
  }

  /** Bytes of RAM promised to guests. */
  get reservedBytes(): number {
    return [...this.#reserved.values()].reduce((sum, bytes) => sum + bytes, 0);
  }

  get freeBytes(): number {
    return this.capacityBytes - this.reservedBytes;
  }

  /** Bytes of RAM held for guests to come. */
  get idleBytes(): number {
    return this.#idle.reduce((sum, { memory }) => sum + memory.ramBytes, 0);
  }

  /**
   * Reserves room under the guest's name and gives a memory of that size.
   *
   * @throws GodwitError `host.no_room`, `guest.bad_spec` for a size or hart count no guest can have
   */
  take(guest: string, options: { ramBytes: number; harts: number }): PooledMemory {
    const { ramBytes, harts } = options;
    if (this.#reserved.has(guest))
      throw new GodwitError('guest.exists', { guest, host: this.#host });
    if (ramBytes > this.freeBytes) {
      throw new GodwitError('host.no_room', {
        host: this.#host,
        neededBytes: ramBytes,
        freeBytes: this.freeBytes,
      });
    }
    const at = this.#idle.findIndex(({ memory }) => memory.ramBytes === ramBytes);
    try {
      const [idle] = at < 0 ? [] : this.#idle.splice(at, 1);
      const reused = idle?.memory.reset(harts);
      if (reused === undefined) this.#shrinkIdle(this.freeBytes - ramBytes);
      const memory = reused ?? makeMemory({ ramBytes, harts });
      this.#reserved.set(guest, ramBytes);
      return { memory, scrubbed: idle?.scrubbed ?? null };
    } catch (error) {
      throw asGodwitError(error);
    }
  }

  /** Resolves when nothing is reserved under the name any more, at the latest after `withinMs`. */
  async vacated(guest: string, withinMs: number): Promise<void> {
    let isLate = false;
    const late = Promise.withResolvers<void>();
    const timer = setTimeout(() => {
      isLate = true;
      late.resolve();
    }, withinMs);
    while (this.#reserved.has(guest) && !isLate) {
      await Promise.race([this.#given.promise, late.promise]);
    }
    clearTimeout(timer);
  }

  /** Only when no thread runs on the memory and no socket reads from or writes to it. */
  give(guest: string, memory: GuestMemory): void {
    this.#reserved.delete(guest);
    this.#given.resolve();
    this.#given = Promise.withResolvers();
    const scrubbed = this.#scrubbing.then(() => this.#scrub(memory));
    this.#scrubbing = Promise.allSettled([scrubbed]);
    const idle = { memory, sinceMs: performance.now(), scrubbed };
    this.#scrubs.add(scrubbed);
    // What could not be scrubbed serves nobody; who has taken it meanwhile hears of it by the promise.
    const failed = () => {
      this.#idle = this.#idle.filter((kept) => kept !== idle);
    };
    void scrubbed.catch(failed).finally(() => this.#scrubs.delete(scrubbed));
    this.#idle.push(idle);
    this.#shrinkIdle(this.freeBytes);
    this.#timer ??= setInterval(() => this.#dropOld(), IDLE_MS / 2).unref();
  }

  /**
   * Forgets what is idle; the process ends, so nothing is collected. No thread is busy with any memory of
   * the pool when it resolves.
   */
  async close(): Promise<void> {
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#idle = [];
    await Promise.allSettled(this.#scrubs);
  }

  #dropOld(): void {
    const before = this.#idle.length;
    const nowMs = performance.now();
    this.#idle = this.#idle.filter(({ sinceMs }) => nowMs - sinceMs < IDLE_MS);
    if (this.#idle.length < before) giveBack();
    if (this.#idle.length > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  /** Drops the oldest until at most so many bytes are idle. */
  #shrinkIdle(bytesMax: number): void {
    const before = this.#idle.length;
    while (this.#idle.length > 0 && this.idleBytes > bytesMax) this.#idle.shift();
    if (this.#idle.length < before) giveBack();
  }
}

function makeMemory(options: GuestMemoryOptions): GuestMemory {
  const made = GuestMemory.create(options);
  adviseHugePages(made.ram());
  return made;
}

export const SCRUB_THREAD = new URL('./scrub.worker.ts', import.meta.url);

async function scrubOnThread({ memory, pages }: GuestMemory): Promise<void> {
  const thread = new Thread<ScrubCommands>(SCRUB_THREAD);
  try {
    await thread.call('scrub', memory, pages);
  } finally {
    await thread.close();
  }
}

/** Dropped memory is given back to the machine within moments: threads collect at their next turn. */
export function giveBack(): void {
  collectThreads();
  collectGarbage();
}
