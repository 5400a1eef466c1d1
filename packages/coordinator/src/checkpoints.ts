/**
 * Guests written to a file of their host, and made anew from one.
 *
 *   API --> [checkpoints] --checkpointGuest--> the owner's agent
 *   API --> [checkpoints] --describeCheckpoint, restoreGuest--> the agent that has the file --> record
 *
 * A file may be restored as often as anybody likes, but never beside the guest it was taken from: under
 * its own name only when nobody runs that guest any more (it is lost, or its record is gone), and then
 * with an epoch above every one it can have had. Otherwise it becomes another guest, under another name.
 */
import {
  type CheckpointResult,
  GodwitError,
  type Guest,
  type Message,
  type RestoreGuestRequest,
} from '@godwit/protocol';
import type { LiveHost } from './agents.ts';
import type { CommandParts } from './guest-commands.ts';
import type { GuestRecord } from './records.ts';
import { commit } from './store/collection.ts';

/** Reading or writing 3.75 GiB, and their digest. */
const WORK_DEADLINE_MS = 60_000;
/** A move that was under way when the guest was lost may have raised the epoch by one: this is past it. */
const EPOCH_STEP = 2;

type Described = NonNullable<Message<'done'>['checkpoint']>;

export class Checkpoints {
  readonly #parts: CommandParts;

  constructor(parts: CommandParts) {
    this.#parts = parts;
  }

  /**
   * @throws GodwitError `guest.not_found`, `guest.busy`, `guest.not_running`, `checkpoint.exists`,
   *   `checkpoint.not_written`, `host.unreachable`, `request.timed_out`
   */
  async write(name: string, checkpoint: string): Promise<CheckpointResult> {
    const { agents, guests, log } = this.#parts;
    const guest = guests.known(name);
    const { epoch, host, migration, state } = guest;
    if (migration !== undefined) throw new GodwitError('guest.busy', { guest: name, migration });
    if (state !== 'running' && state !== 'stopped') {
      throw new GodwitError('guest.not_running', { guest: name, state });
    }
    const ask = { type: 'checkpointGuest', guest: name, epoch, checkpoint } as const;
    const { path, fileBytes, digest, pausedMs } = this.#described(
      host,
      (await agents.request(host, ask, WORK_DEADLINE_MS)).checkpoint,
    );
    log.info({ guest: name, host, checkpoint, pausedMs }, 'checkpoint written');
    return {
      guest: name,
      checkpoint,
      host,
      path,
      fileBytes,
      digest: digest ?? '',
      pausedMs: pausedMs ?? 0,
      epoch,
    };
  }

  /**
   * @throws GodwitError `host.not_found`, `host.unreachable`, `host.cordoned`, `host.no_room`, `checkpoint.not_found`,
   *   `checkpoint.damaged`, `guest.exists` while a guest of that name may run; nothing changed then
   */
  async restore(checkpoint: string, { host, as }: RestoreGuestRequest): Promise<Guest> {
    const { agents, cordons, log, records, room, views } = this.#parts;
    agents.host(host);
    const why = cordons.why(host);
    if (why) throw new GodwitError('host.cordoned', { host, why });
    const live = agents.connected(host);
    if (live === undefined) throw new GodwitError('host.unreachable', { host });
    const described = await agents.request(host, { type: 'describeCheckpoint', checkpoint });
    const found = this.#described(host, described.checkpoint);
    const freeBytes = room.of(host, 'all');
    const neededBytes = found.spec.memoryBytes;
    if (freeBytes < neededBytes) {
      throw new GodwitError('host.no_room', { host, neededBytes, freeBytes });
    }
    const before = records.guests.get(as ?? found.spec.name);
    const record = await this.#claim(live, found, as, before);
    const { spec, epoch } = record;
    try {
      const ask = { type: 'restoreGuest', spec, epoch, checkpoint } as const;
      await agents.request(host, ask, WORK_DEADLINE_MS);
    } catch (thrown) {
      await this.#giveUp(record, before, GodwitError.from(thrown));
      throw thrown;
    }
    log.info({ guest: spec.name, host, epoch, checkpoint }, 'guest restored');
    const now = await records.guests.update(
      spec.name,
      (guest) => guest && (guest.state === 'creating' ? { ...guest, state: 'running' } : guest),
    );
    return views.guest(now ?? record);
  }

  /** The record of the guest that is to be, first: no second restore and no create gets the name. */
  async #claim(
    live: LiveHost,
    { spec, epoch }: Described,
    as: string | undefined,
    before: GuestRecord | undefined,
  ): Promise<GuestRecord> {
    const { records } = this.#parts;
    const name = as ?? spec.name;
    const record: GuestRecord = {
      spec: { ...spec, name },
      epoch: Math.max(epoch, before?.epoch ?? 0) + EPOCH_STEP,
      host: live.name,
      incarnation: live.incarnation,
      state: 'creating',
      createdAtMs: Date.now(),
      witnessWrites: 0,
    };
    const isFree = before === undefined || (before.state === 'lost' && !before.migration);
    const put = records.guests.put(name, record);
    if (isFree && (await commit(records.store, [put]))) {
      // The lost one had done more writes than this one has, and nobody asks after them any more.
      this.#parts.guests.forgetWitness(name);
      return record;
    }
    const owner = records.guests.get(name)?.host ?? live.name;
    throw new GodwitError('guest.exists', { guest: name, host: owner });
  }

  /** Nobody knows whether it was carried out: the record stays, and the host's next report corrects it. */
  async #giveUp(
    { spec, epoch, host }: GuestRecord,
    before: GuestRecord | undefined,
    { code, message }: GodwitError,
  ): Promise<void> {
    this.#parts.log.warn({ guest: spec.name, host, code }, message);
    if (code === 'host.unreachable' || code === 'request.timed_out') return;
    await this.#parts.records.guests.update(spec.name, (now) =>
      now?.epoch === epoch ? before : now,
    );
  }

  #described(host: string, checkpoint: Described | undefined): Described {
    if (checkpoint !== undefined) return checkpoint;
    throw new GodwitError('internal', { why: `host ${host} answered without a checkpoint` });
  }
}
