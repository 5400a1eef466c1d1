/**
 * How fast a guest writes and how much of its memory it uses, for the reports of a guest at home.
 *
 * A sample is a harvest, a short while, and a look at what has been marked since: pages a second. A
 * harvest makes every page be marked anew, so a guest that keeps writing the same pages is seen as
 * well. The union of what samples found over the last ten to twenty seconds is the working set.
 *
 * Only while no migration holds the guest: the dirty log then belongs to its rounds, and a mark taken
 * here would be a lost write. One sample of 3.75 GiB costs 0.2 ms of the main thread, twice a second.
 */
import {
  type DirtyLog,
  decayHeat,
  type GuestMemory,
  makeBitmap,
  memoryMap as map,
  orInto,
  popcount,
} from '@godwit/machine';

/** Long enough for a few timer wakes of a paced guest, short against rewriting a page of a hot set. */
const WINDOW_MS = 100;
const GENERATION_MS = 10_000;

export class DirtyMeter {
  readonly #memory: GuestMemory;
  readonly #log: DirtyLog;
  readonly #sample: Uint32Array;
  /** Pages found dirty in this generation and in the one before. */
  #recent: Uint32Array;
  #older: Uint32Array;
  #generationAtMs = performance.now();
  #busy = false;
  dirtyBytesPerS = 0;
  workingSetPages = 0;

  constructor(memory: GuestMemory, log: DirtyLog) {
    this.#memory = memory;
    this.#log = log;
    this.#sample = makeBitmap(memory.pages);
    this.#recent = makeBitmap(memory.pages);
    this.#older = makeBitmap(memory.pages);
  }

  /**
   * Takes one sample.
   *
   * @param mayUseLog asked again after each wait: false ends the sample
   */
  async sample(mayUseLog: () => boolean): Promise<void> {
    if (this.#busy || !mayUseLog()) return;
    this.#busy = true;
    try {
      await this.#log.harvest(this.#sample);
      if (!mayUseLog()) {
        // A migration has begun while we waited. Its round 0 sends all pages after its own harvest,
        // which queues behind ours; giving the marks back costs nothing and needs no such argument.
        this.#log.markBitmap(this.#sample);
        return;
      }
      orInto(this.#recent, this.#sample);
      const beganMs = performance.now();
      await new Promise((resolve) => setTimeout(resolve, WINDOW_MS).unref());
      if (!mayUseLog()) return;
      const seconds = (performance.now() - beganMs) / 1000;
      this.dirtyBytesPerS = (this.#log.countDirty() * map.PAGE_SIZE) / seconds;
      this.#countWorkingSet();
    } finally {
      this.#busy = false;
    }
  }

  /** The guest stands still. */
  still(): void {
    this.dirtyBytesPerS = 0;
  }

  #countWorkingSet(): void {
    const union = this.#sample;
    union.set(this.#recent);
    orInto(union, this.#older);
    this.workingSetPages = popcount(union);
    if (performance.now() - this.#generationAtMs < GENERATION_MS) return;
    this.#generationAtMs = performance.now();
    [this.#older, this.#recent] = [this.#recent, this.#older];
    this.#recent.fill(0);
    decayHeat(this.#memory);
  }
}
