/**
 * Answers the target's faults: READ in, the pages out at once.
 *
 *   hart at the target -> READ -> [faults server] -> READ_RESPONSE by reference -> hart goes on
 *
 * A thread and a connection of its own, so that a fault never queues behind pushed pages. READs that
 * come before the guest is stopped for good here (`serve`) wait: the target may run, and fault, before
 * its RUNNING has reached this end's main thread. Pages answered for are marked in the push table, and
 * given back if the connection breaks before the target has said that they landed.
 */
import type { GuestMemory } from '@godwit/machine';
import { type FrameHeader, GodwitError, OPCODE, PAGE_BYTES, RUN_BYTES } from '@godwit/protocol';
import { Admission, type AdmissionOptions, type AttachedSocket } from '../channel/admission.ts';
import type { Counters } from '../channel/counters.ts';
import type { RegionTable } from '../channel/regions.ts';
import { CompletionQueue, QueuePair } from '../channel/verbs.ts';
import type { PushTable } from './push-table.ts';

/** READs kept before `serve`: more than all harts of a guest can have open. */
const EARLY_READS_MAX = 64;
/**
 * READs answered of which the target has not said that the answer landed. It says so every 32 answers;
 * one that does not would have the answers pile up here.
 */
const OPEN_READS_MAX = 256;

export interface FaultsServerOptions extends AdmissionOptions {
  readonly guest: GuestMemory;
  readonly regions: RegionTable;
  readonly pushes: PushTable;
  readonly counters: Counters;
  /** Its row in the counters. */
  readonly row: number;
  readonly onAttached: () => void;
  readonly onGivenBack: () => void;
  readonly onFailed: (error: GodwitError) => void;
}

interface Read {
  readonly key: number;
  readonly runs: Uint32Array<ArrayBuffer>;
}

export class FaultsServer {
  readonly #options: FaultsServerOptions;
  readonly #admission: Admission;
  readonly #completions = new CompletionQueue();
  /** Pages answered for and not yet known to have landed, by request. */
  readonly #open = new Map<number, Uint32Array>();
  #queue: QueuePair | null = null;
  #early: Read[] = [];
  #serving = false;
  #lastId = 0;

  constructor(options: FaultsServerOptions) {
    this.#options = options;
    this.#admission = new Admission(options, {
      attached: (socket) => this.#attached(socket),
      frame: (header, payload) => this.#receive(header, payload),
      lost: (error) => this.#lost(error),
    });
  }

  listen(): Promise<number> {
    return this.#admission.listen();
  }

  /** The guest is stopped and its pages may be read: what came before the region stood is answered now. */
  serve(): void {
    this.#serving = true;
    const early = this.#early;
    this.#early = [];
    try {
      for (const read of early) this.#answer(read);
    } catch (thrown) {
      this.#admission.refuse(GodwitError.from(thrown));
    }
  }

  close(): Promise<void> {
    return this.#admission.close();
  }

  #attached(socket: AttachedSocket): void {
    this.#queue?.endedAt(socket.landedBefore);
    this.#settle();
    const { guest } = this.#options;
    this.#queue = new QueuePair(guest, socket.writer, this.#completions, () => {});
    this.#options.onAttached();
  }

  #receive(header: FrameHeader, payload: Buffer): void {
    if (header.opcode === OPCODE.CREDIT) {
      this.#queue?.acknowledge(header.sequence);
      this.#takeCompletions();
    } else if (header.opcode === OPCODE.READ) {
      const runs = new Uint32Array(header.runs * 2);
      for (let i = 0; i < runs.length; i++) runs[i] = payload.readUInt32LE((i * RUN_BYTES) / 2);
      const read = { key: header.key, runs };
      if (this.#serving || this.#options.regions.find(read.key) >= 0) this.#answer(read);
      else if (this.#early.push(read) > EARLY_READS_MAX) this.#refuse(read, 'too early');
    } else {
      throw new GodwitError('wire.bad_frame', { why: `opcode ${header.opcode} out of place` });
    }
  }

  /** @throws GodwitError `channel.protection` */
  #answer(read: Read): void {
    const { regions, pushes } = this.#options;
    const { key, runs } = read;
    const entry = regions.find(key);
    if (entry < 0) return this.#refuse(read, 'no such key');
    if (regions.access(entry) !== 'read') return this.#refuse(read, 'the region may not be read');
    for (let i = 0; i < runs.length; i += 2) {
      if (!regions.covers(entry, runs[i]!, runs[i + 1]!)) this.#refuse(read, 'outside its region');
    }
    if (this.#open.size >= OPEN_READS_MAX) this.#refuse(read, 'too many answers not acknowledged');
    const id = ++this.#lastId;
    this.#open.set(id, runs);
    pushes.markSent(runs);
    pushes.hint(runs[0]!);
    this.#queue?.post({
      id,
      opcode: 'READ_RESPONSE',
      key,
      round: 0,
      flags: 0,
      signalled: true,
      sge: runs,
    });
  }

  #refuse(read: Read, why: string): never {
    const { channel } = this.#options;
    throw new GodwitError('channel.protection', { channel, key: read.key, why });
  }

  #takeCompletions(): void {
    const { counters, row } = this.#options;
    for (const { id, status, pages } of this.#completions.poll()) {
      if (status !== 'success') continue;
      this.#open.delete(id);
      counters.add(row, 'pages', pages);
      counters.add(row, 'wireBytes', pages * PAGE_BYTES);
    }
  }

  #lost(error: GodwitError | null): void {
    this.#early = [];
    if (error !== null) this.#options.onFailed(error);
  }

  /** The old connection is known to be over: what it did not deliver may be pushed again. */
  #settle(): void {
    this.#queue?.flush();
    this.#takeCompletions();
    if (this.#open.size === 0) return;
    for (const runs of this.#open.values()) this.#options.pushes.giveBack(runs);
    this.#open.clear();
    this.#options.onGivenBack();
  }
}
