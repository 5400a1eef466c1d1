/**
 * One guest on this host: its memory, its vCPU threads, and the one lease a migration may hold.
 *
 *   create   pool -> memory -> program or content -> vCPU threads parked -> start
 *   reserve  pool -> memory zero and touched -> vCPU threads parked -> (pages land) -> adoptState -> start
 *   release  threads ended -> memory back to the pool
 *
 *   who                        may
 *   agent (guest-requests)     create, start, stop, audit, release a guest that nobody leased
 *   the holder of the lease    harvest, throttle, stop, start, capture, adopt, set state and epoch, release
 *   console server             the console ring, input only while `takesInput`
 *
 * What happens in the guest's own life under a lease (power-off, a person's stop) is latched and carried
 * out when the lease ends: the owner after the commit acts on it, and nobody else. Main thread only;
 * nothing here blocks or touches page bytes.
 */
import { EventEmitter } from 'node:events';
import {
  ConsoleRing,
  DirtyLog,
  type GuestMemory,
  guestEnd,
  makeBitmap,
  memoryMap as map,
  rateFromMiB,
  retiredInstructions,
  setRate,
  setThrottle,
  startHarts,
  stopHarts,
} from '@godwit/machine';
import { GodwitError, type GuestReport, type GuestSpec } from '@godwit/protocol';
import type { Log } from '../log.ts';
import { type BootSource, bootGuest } from './boot.ts';
import { DirtyMeter } from './dirty-meter.ts';
import { ENDINGS, type GuestEnding } from './guest-ending.ts';
import { checkGuestSpec, workloadSpecOf, writeIdentity } from './guest-spec.ts';
import { captureGuest, restoreGuest } from './guest-state.ts';
import { asGodwitError } from './machine-errors.ts';
import type { MemoryPool } from './memory-pool.ts';
import { incomingByte, runMemoryTask } from './memory-task.ts';
import { Vcpus } from './vcpus.ts';

/** Something asked or suffered under a lease, to be done when it ends. */
export interface Latched {
  readonly what: 'stop' | 'remove' | 'ended';
  /** The guest stayed, or has come to stay. */
  carryOut(): void;
  /** The guest is not here any more. */
  gone(): void;
}

export interface MakeGuest {
  readonly spec: GuestSpec;
  readonly epoch: number;
  readonly pool: MemoryPool;
  readonly log: Log;
}

/** Holds the guest while it reboots, as a migration does. */
const REBOOT_LEASE = 'reboot';

interface GuestEvents {
  ended: [ending: GuestEnding];
}

export class Guest extends EventEmitter<GuestEvents> {
  readonly spec: GuestSpec;
  readonly memory: GuestMemory;
  readonly dirtyLog: DirtyLog;
  /** RAM was all zero when its first page could land. */
  readonly fresh: boolean;
  readonly createdAtMs = Date.now();
  epoch: number;
  state: GuestReport['state'];
  /** Oldest byte of console output this host can have: what was acknowledged before was not moved. */
  consoleFrom = 0n;
  ending: GuestEnding | undefined;
  /** What a reboot starts from; undefined: nothing is at hand, and a reboot ends the guest. */
  boot: BootSource | undefined;
  readonly #log: Log;
  readonly #pool: MemoryPool;
  readonly #meter: DirtyMeter;
  #rateMiBps: number | undefined;
  #vcpus: Vcpus | undefined;
  #takesInput = false;
  /** Starts and stops so far: only the newest one's outcome counts. */
  #commands = 0;
  #lease: string | undefined;
  #latched: Latched[] = [];
  #noting: Promise<void> | undefined;
  #whole: Promise<void> = Promise.resolve();
  #released: Promise<void> | undefined;
  /** Another owner runs it, or nobody may: no holder of a lease starts it again. */
  #isQuarantined = false;
  /** Resolved when the guest is being released: nobody waits for its pages any more. */
  readonly #goes = Promise.withResolvers<void>();

  private constructor(make: MakeGuest, memory: GuestMemory, fresh: boolean, state: Guest['state']) {
    super();
    this.spec = make.spec;
    this.epoch = make.epoch;
    this.state = state;
    this.memory = memory;
    this.fresh = fresh;
    this.dirtyLog = new DirtyLog(memory);
    this.#pool = make.pool;
    this.#log = make.log.child({ guest: make.spec.name });
    this.#meter = new DirtyMeter(memory, this.dirtyLog);
    this.#rateMiBps = make.spec.workload?.rateMiBps;
  }

  /**
   * A new guest, ready to start: its program loaded, or its content written on threads.
   *
   * @throws GodwitError `guest.bad_spec`, `host.no_room`, `guest.exists`; nothing is left behind
   */
  static async create(
    make: MakeGuest & { readonly boot?: BootSource | undefined },
  ): Promise<Guest> {
    const { boot } = make;
    checkGuestSpec(make.spec, boot !== undefined);
    return Guest.#make(make, 'creating', async (guest) => {
      guest.dirtyLog.beganAsZerosBut(makeBitmap(guest.memory.pages));
      writeIdentity(make.spec, guest.memory);
      if (make.spec.kind === 'workload') {
        const spec = workloadSpecOf(make.spec, guest.memory);
        await runMemoryTask(guest.memory, { kind: 'fill', spec });
        return;
      }
      guest.boot = boot;
      await guest.#load(false);
    });
  }

  /**
   * Room for a guest that comes in: RAM zero and touched, because cold memory is not to be paid for while
   * pages land; vCPU threads parked, so that `start` takes well under a millisecond.
   *
   * @throws GodwitError `host.no_room`, `guest.exists`, `guest.bad_spec`; nothing is left behind
   */
  static async reserve(make: MakeGuest): Promise<Guest> {
    return Guest.#make(make, 'incoming', async (guest, isWarm) => {
      writeIdentity(make.spec, guest.memory);
      const byte = incomingByte();
      if (!isWarm || byte !== 0) await runMemoryTask(guest.memory, { kind: 'wipe', byte });
    });
  }

  /**
   * A guest that goes on from a file, ready to start.
   *
   * @throws GodwitError `checkpoint.damaged`, `state.version`, `state.corrupt`, `host.no_room`,
   *   `guest.exists`; nothing is left behind
   */
  static async restore(make: MakeGuest, path: string): Promise<Guest> {
    return Guest.#make(make, 'creating', async (guest) => {
      writeIdentity(make.spec, guest.memory);
      const [state] = await runMemoryTask(guest.memory, { kind: 'read', path });
      guest.adoptState(state!);
    });
  }

  static async #make(
    make: MakeGuest,
    state: Guest['state'],
    fill: (guest: Guest, isWarm: boolean) => Promise<void>,
  ): Promise<Guest> {
    const { name, kind, memoryBytes, harts } = make.spec;
    const { memory, scrubbed } = make.pool.take(name, { ramBytes: memoryBytes, harts });
    const fresh = state !== 'incoming' || incomingByte() === 0;
    const guest = new Guest(make, memory, fresh, state);
    try {
      const vcpus = Vcpus.start(memory, kind, {
        left: () => void guest.#noteEnd(),
        crashed: (hart, error) => guest.#crashed(hart, error),
      }).then((started) => {
        guest.#vcpus = started;
      });
      // Both are waited for, whichever fails first: no thread may outlive the memory's reservation.
      const filling = Promise.resolve(scrubbed).then(() => fill(guest, scrubbed !== null));
      const [threads, filled] = await Promise.allSettled([vcpus, filling]);
      if (filled.status === 'rejected') throw filled.reason;
      if (threads.status === 'rejected') throw threads.reason;
      return guest;
    } catch (error) {
      await guest.release();
      throw asGodwitError(error);
    }
  }

  get name(): string {
    return this.spec.name;
  }

  /** Bytes written to the console now will be read by this guest: it runs here and nobody copies it. */
  get takesInput(): boolean {
    return this.#takesInput;
  }

  // ------------------------------------------------------------------- running and standing

  /**
   * Pages are still to come (post-copy). A guest that ends by itself meanwhile ends once its image is
   * whole: its digest speaks of all of it, and the source's pages are wanted until then.
   */
  wholeAfter(pages: Promise<void>): void {
    this.#whole = pages;
  }

  /** Lets the harts run; a store and a wake. Of a quarantined guest nothing runs. */
  start(): void {
    if (this.#isQuarantined) return;
    this.#commands += 1;
    this.state = 'running';
    this.memory.setControl(map.CONTROL_EPOCH, this.epoch | 0);
    startHarts(this.memory);
    this.#takesInput = true;
  }

  /**
   * Resolves when every hart is at a safepoint and its stores are in memory.
   *
   * @throws GodwitError `guest.stopped_late`: some hart does not answer, and the guest runs on, or it
   *   was started again meanwhile; `guest.ended`: it had ended by itself before it was stopped, and
   *   `ended` has been emitted
   */
  async stopHarts(): Promise<void> {
    this.#commands += 1;
    const command = this.#commands;
    this.#takesInput = false;
    const beganMs = performance.now();
    const failure = await stopHarts(this.memory).catch((error: Error) => error);
    // A start or another stop came after this one: the harts are that one's, whatever they do now. To
    // start them here could be to start a guest that was handed over since.
    const isOvertaken = command !== this.#commands;
    if (failure !== undefined || isOvertaken) {
      if (!isOvertaken) this.start();
      const waitedMs = Math.round(performance.now() - beganMs);
      throw new GodwitError(
        'guest.stopped_late',
        { guest: this.name, waitedMs },
        { cause: failure },
      );
    }
    this.#meter.still();
    if (guestEnd(this.memory) === undefined) return;
    await this.#noteEnd();
    throw new GodwitError('guest.ended', { guest: this.name });
  }

  /**
   * Never runs again, whoever leased it: resolves when no hart does. A host that is out of breath is asked
   * until it stops.
   */
  async quarantine(): Promise<void> {
    this.#isQuarantined = true;
    this.#commands += 1;
    this.state = 'lost';
    this.#takesInput = false;
    while (this.#released === undefined) {
      try {
        await stopHarts(this.memory);
        return;
      } catch (error) {
        this.#log.error({ err: error }, 'a quarantined guest does not stop yet');
      }
    }
  }

  /** Machine or workload state, encoded. Harts stopped. */
  captureState(): Uint8Array {
    return captureGuest(this.spec.kind, this.memory);
  }

  /**
   * The other way, into a guest that does not run.
   *
   * @throws GodwitError `state.version`, `state.corrupt`; nothing changed
   */
  adoptState(state: Uint8Array): void {
    restoreGuest(this.spec.kind, this.memory, state);
    if (this.spec.kind === 'machine') this.consoleFrom = new ConsoleRing(this.memory).acknowledged;
  }

  /** Takes what was written since the last harvest; `into` has one bit a page. Resolves to the count. */
  harvest(into: Uint32Array): Promise<number> {
    return this.dirtyLog.harvest(into);
  }

  /** Pages written since the last harvest, at this moment. */
  countDirty(): number {
    return this.dirtyLog.countDirty();
  }

  /** Parts in 1000 of its time that each hart sleeps; 0 = full speed. */
  setThrottle(permille: number): void {
    setThrottle(this.memory, permille);
  }

  /**
   * New write rate of a workload, MiB/s; undefined = as fast as it can.
   *
   * @throws GodwitError `guest.bad_spec`
   */
  setRate(rateMiBps: number | undefined): void {
    if (this.spec.kind !== 'workload') {
      throw new GodwitError('guest.bad_spec', { why: `guest ${this.name} is no workload` });
    }
    try {
      setRate(this.memory, rateFromMiB(rateMiBps ?? 'unlimited'));
      this.#rateMiBps = rateMiBps;
    } catch (error) {
      throw asGodwitError(error);
    }
  }

  // ------------------------------------------------------------------------------- the lease

  get lease(): string | undefined {
    return this.#lease;
  }

  /** @throws GodwitError `guest.busy` */
  leaseTo(migration: string): void {
    this.mustBeFree();
    this.#lease = migration;
  }

  /** @throws GodwitError `guest.busy` while somebody holds the lease */
  mustBeFree(): void {
    if (this.#lease === undefined) return;
    throw new GodwitError('guest.busy', { guest: this.name, migration: this.#lease });
  }

  /** What was latched meanwhile is carried out once the holder has said its last word. */
  releaseLease(holder: string): void {
    // A migration repeats its last word for minutes; by then the lease may be the next one's.
    if (this.#lease !== holder) return;
    this.#lease = undefined;
    queueMicrotask(() => this.carryOutLatched());
  }

  latch(event: Latched): void {
    this.#latched.push(event);
  }

  takeLatched(): Latched[] {
    return this.#latched.splice(0);
  }

  /** Does what was latched, unless the guest is leased (again). */
  carryOutLatched(): void {
    if (this.#lease !== undefined) return;
    for (const event of this.takeLatched()) event.carryOut();
  }

  // ------------------------------------------------------------------------------ what it is

  report(): GuestReport {
    const instructions = this.#retired();
    const { ending } = this;
    return {
      spec: this.#specNow(),
      epoch: this.epoch,
      state: this.state,
      ...(this.#lease !== undefined && { migration: this.#lease }),
      instructions,
      writes: this.spec.kind === 'workload' ? instructions : 0,
      dirtyBytesPerS: Math.round(this.#meter.dirtyBytesPerS),
      workingSetPages: this.#meter.workingSetPages,
      createdAtMs: this.createdAtMs,
      ...(ending && { end: { why: ending.event, code: ending.code } }),
      ...(ending?.digest !== undefined && { digest: ending.digest }),
    };
  }

  /** Measures dirty rate and working set, while the guest runs and its dirty log belongs to nobody. */
  async sampleDirty(): Promise<void> {
    const isOurs = () => this.#lease === undefined && this.state === 'running';
    try {
      await this.#meter.sample(isOurs);
    } catch (error) {
      this.#log.debug({ err: error }, 'no sample of the dirty rate');
    }
  }

  /**
   * Ends the vCPU threads, then gives the memory back. The caller has closed every socket that could
   * read or write it, and all write callbacks are back.
   */
  release(): Promise<void> {
    this.#released ??= this.#release();
    return this.#released;
  }

  async #release(): Promise<void> {
    this.#commands += 1;
    this.#takesInput = false;
    this.#lease = undefined;
    this.#goes.resolve();
    await this.#noting;
    await this.#vcpus?.end();
    this.#vcpus = undefined;
    this.#pool.give(this.name, this.memory);
    for (const event of this.takeLatched()) event.gone();
    this.removeAllListeners();
  }

  #retired(): number {
    let total = 0n;
    for (let hart = 0; hart < this.memory.harts; hart++) {
      total += retiredInstructions(this.memory, hart);
    }
    return Number(total);
  }

  /** The spec with the rate of the moment: what a report shows and a migration hands on. */
  #specNow(): GuestSpec {
    const { workload } = this.spec;
    if (workload === undefined || workload.rateMiBps === this.#rateMiBps) return this.spec;
    const { rateMiBps: _made, ...rest } = workload;
    const rate = this.#rateMiBps === undefined ? {} : { rateMiBps: this.#rateMiBps };
    return { ...this.spec, workload: { ...rest, ...rate } };
  }

  // -------------------------------------------------------------------------------- the end

  /** Fills zeroed RAM from the boot source. */
  async #load(goesOn: boolean): Promise<void> {
    const boot = await this.boot!();
    const options = { clock: this.spec.clock, goesOn };
    if (boot.kind === 'elf') bootGuest(this.memory, boot, options);
    else await runMemoryTask(this.memory, { kind: 'boot', boot, options });
  }

  /**
   * The guest has rebooted: the same guest starts again from what it was made of, in the same memory,
   * under the same epoch. No migration may begin meanwhile. False: it was released or stopped.
   *
   * @throws GodwitError `guest.busy`, and what the boot source and the loader throw: the guest stands
   */
  async reboot(): Promise<boolean> {
    this.leaseTo(REBOOT_LEASE);
    try {
      await this.#noting;
      await runMemoryTask(this.memory, { kind: 'wipe', byte: 0 });
      await this.#load(true);
      this.ending = undefined;
      this.#noting = undefined;
    } catch (error) {
      throw asGodwitError(error);
    } finally {
      this.releaseLease(REBOOT_LEASE);
    }
    if (this.#released !== undefined || this.state !== 'running') return false;
    this.start();
    return true;
  }

  /** Once: stops all harts, names the end, tells the owner. */
  #noteEnd(): Promise<void> {
    if (guestEnd(this.memory) === undefined) return Promise.resolve();
    this.#noting ??= this.#nameEnd().catch((error) =>
      this.#log.error({ err: error }, 'the end of the guest could not be noted'),
    );
    return this.#noting;
  }

  async #nameEnd(): Promise<void> {
    this.#takesInput = false;
    await stopHarts(this.memory);
    await Promise.race([this.#whole, this.#goes.promise]);
    if (this.#released !== undefined) return;
    const { end, code } = guestEnd(this.memory)!;
    const digest =
      end === 'stop-at' ? (await runMemoryTask(this.memory, { kind: 'digest' }))[0] : undefined;
    const ending = { event: ENDINGS[end], code, ...(digest !== undefined && { digest }) };
    this.#log.info(ending, 'the guest ended by itself');
    this.ending = ending;
    this.#meter.still();
    this.emit('ended', ending);
  }

  #crashed(hart: number, error: Error): void {
    this.#log.error({ err: error, hart }, 'a vCPU thread failed');
    this.memory.setControl(map.CONTROL_END_CODE, hart);
    this.memory.setControl(map.CONTROL_END, map.END_CRASH);
    void this.#noteEnd();
  }
}
