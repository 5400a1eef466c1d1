/**
 * What people do with guests, beside moving them: create, stop, remove, discard, audit, rate.
 *
 *   API --> [commands] --request--> the owner's agent --done--> [commands] --> guest record
 *
 * The record is written before an agent is asked to make a guest and after it was asked to change
 * one. When no answer comes nobody knows whether the request was carried out; then the record stays
 * as it is, and the owner's next report corrects it.
 */
import {
  type AuditResult,
  type ConsoleAddress,
  type CreateGuestRequest,
  ELF_BYTES_MAX,
  GodwitError,
  GUEST_PAGES_MAX,
  type Guest,
  type GuestSpec,
  PAGE_BYTES,
  REQUEST_DEADLINE_MS,
} from '@godwit/protocol';
import { createGuestRequest } from '@godwit/protocol/http-api';
import type { Agents, LiveHost } from './agents.ts';
import type { GuestViews } from './guest-views.ts';
import type { Guests } from './guests.ts';
import type { Images } from './images.ts';
import type { Logger } from './log.ts';
import type { Migrations } from './migrations/migrations.ts';
import type { Cordons } from './placement/cordons.ts';
import { place } from './placement/place.ts';
import type { Room } from './placement/room.ts';
import type { GuestRecord, Records } from './records.ts';
import { commit } from './store/collection.ts';

/** First touch and filling of up to 3.75 GiB, or reading as much again for an audit. */
const WORK_DEADLINE_MS = 60_000;
/** The same, and an image of some 50 MB from another host before it. */
const FETCH_DEADLINE_MS = 110_000;
const GUEST_BYTES_MAX = GUEST_PAGES_MAX * PAGE_BYTES;

type CreateInput = ReturnType<typeof createGuestRequest.parse>;

export interface CommandParts {
  readonly records: Records;
  readonly agents: Agents;
  readonly guests: Guests;
  readonly images: Images;
  readonly migrations: Migrations;
  readonly views: GuestViews;
  readonly cordons: Cordons;
  readonly room: Room;
  readonly log: Logger;
}

export class GuestCommands {
  readonly #parts: CommandParts;

  constructor(parts: CommandParts) {
    this.#parts = parts;
  }

  /**
   * @throws GodwitError `guest.bad_spec`, `guest.exists`, `image.not_found`, `host.not_found`,
   *   `host.unreachable`, `host.no_room`, `request.timed_out`, or what the agent says of the program
   */
  async create(input: CreateGuestRequest): Promise<Guest> {
    const { records, agents, images, log } = this.#parts;
    const request = createGuestRequest.parse(input);
    const elf = request.elf === undefined ? undefined : Buffer.from(request.elf, 'base64');
    const spec = this.#withImage(specOf(request, elf?.length), request);
    const host = this.#hostFor(request);
    const { incarnation } = host;
    const record: GuestRecord = {
      spec,
      epoch: 1,
      host: host.name,
      incarnation,
      state: 'creating',
      createdAtMs: Date.now(),
      witnessWrites: 0,
    };
    const before = records.guests.get(spec.name);
    const isMade =
      before === undefined &&
      (await commit(records.store, [records.guests.put(spec.name, record)]));
    if (!isMade) {
      const owner = records.guests.get(spec.name)?.host ?? host.name;
      throw new GodwitError('guest.exists', { guest: spec.name, host: owner });
    }
    try {
      const { imageDigest } = spec;
      const imageFrom = imageDigest && images.holders(imageDigest, host.name);
      const ask = {
        type: 'createGuest',
        spec,
        epoch: 1,
        ...(elf && { elf }),
        ...(imageFrom && { imageFrom }),
      } as const;
      await agents.request(host.name, ask, imageFrom ? FETCH_DEADLINE_MS : WORK_DEADLINE_MS);
    } catch (thrown) {
      const error = GodwitError.from(thrown);
      log.warn({ guest: spec.name, host: host.name, code: error.code }, error.message);
      if (!isUnknown(error)) await records.guests.update(spec.name, () => undefined);
      throw error;
    }
    log.info({ guest: spec.name, host: host.name }, 'guest created');
    return this.#afterwards(spec.name, (guest) =>
      guest.state === 'creating' ? { ...guest, state: 'running' } : guest,
    );
  }

  /**
   * Stops its harts for good. In a migration the stop is latched and the owner carries it out.
   * @throws GodwitError `guest.not_found`, `guest.not_running`, `host.unreachable`
   */
  async stop(name: string): Promise<Guest> {
    const { guests, agents, migrations, views } = this.#parts;
    const guest = guests.known(name);
    if (guest.state !== 'running') {
      throw new GodwitError('guest.not_running', { guest: name, state: guest.state });
    }
    if (guest.migration !== undefined) {
      if (!(await migrations.requestStop(guest.migration))) return this.stop(name);
      return views.guest(guests.known(name));
    }
    await agents.request(guest.host, { type: 'stopGuest', guest: name, epoch: guest.epoch });
    return this.#afterwards(name, (now) =>
      now.state === 'running' && now.epoch === guest.epoch ? { ...now, state: 'stopped' } : now,
    );
  }

  /** A stop that was latched in a migration: the owner carries it out now, or when it is back. */
  carryOutStop(name: string): void {
    const { log } = this.#parts;
    this.stop(name).catch((error: Error) => log.warn({ guest: name }, `stop: ${error.message}`));
  }

  /** Latched stops of guests of this agent whose migration is over and that run on. */
  carryOutStops({ name, incarnation }: LiveHost): void {
    for (const guest of this.#parts.records.guests.values()) {
      const isTheirs = guest.host === name && guest.incarnation === incarnation;
      if (isTheirs && guest.isStopWanted && guest.state === 'running') {
        this.carryOutStop(guest.spec.name);
      }
    }
  }

  /**
   * Forgets a guest that does not run, and has its memory given back where it can be.
   * @throws GodwitError `guest.not_found`, `guest.busy`, `guest.running`, `host.unreachable`
   */
  async remove(name: string): Promise<void> {
    const { guests, records, log } = this.#parts;
    const guest = guests.known(name);
    this.#notMigrating(guest);
    if (guest.state === 'running') {
      throw new GodwitError('guest.running', { guest: name, host: guest.host });
    }
    if (guest.state === 'lost') await this.#discardEverywhere(name);
    else await this.#removeAtOwner(guest);
    await records.guests.update(name, () => undefined);
    guests.forgetWitness(name);
    log.info({ guest: name }, 'guest removed');
  }

  /**
   * A person gives up an image that one host holds and that is not the running guest.
   * @throws GodwitError `guest.not_found`, `guest.running`, `host.not_found`, `host.unreachable`,
   *   `request.invalid` when that host holds nothing of the guest
   */
  async discard(name: string, host: string): Promise<void> {
    const { guests, agents, migrations } = this.#parts;
    const guest = guests.known(name);
    agents.host(host);
    const live = agents.connected(host);
    if (live === undefined) throw new GodwitError('host.unreachable', { host });
    const report = live.reports.get(name);
    if (report === undefined) {
      throw new GodwitError('request.invalid', {
        why: `host ${host} holds nothing of guest ${name}`,
      });
    }
    const isOwner = guest.host === host && guest.epoch === report.epoch && guest.state !== 'lost';
    if (isOwner) throw new GodwitError('guest.running', { guest: name, host });
    if (guest.migration !== undefined) migrations.expectDiscard(guest.migration);
    await agents.request(host, { type: 'discardGuest', guest: name, epoch: report.epoch });
  }

  /**
   * Has the owner check every page of a workload against its seed and its count of writes, and the
   * count against the witness.
   *
   * @throws GodwitError `guest.not_found`, `guest.busy`, `guest.not_running`, `guest.bad_spec`,
   *   `host.unreachable`, `request.timed_out`
   */
  async audit(name: string): Promise<AuditResult> {
    const { guests, agents } = this.#parts;
    const guest = this.#ownedWorkload(name);
    const witnessWrites = guests.witnessOf(guest);
    const ask = { type: 'auditGuest', guest: name, epoch: guest.epoch, witnessWrites } as const;
    const { audit } = await agents.request(guest.host, ask, WORK_DEADLINE_MS);
    if (audit === undefined) {
      throw new GodwitError('internal', { why: `host ${guest.host} answered without an audit` });
    }
    const isRolledBack = audit.writes < witnessWrites;
    const why = isRolledBack
      ? `it counts ${audit.writes} writes, ${witnessWrites} were heard before`
      : audit.firstWrong;
    return {
      guest: name,
      ok: audit.wrong === 0 && !isRolledBack,
      pages: audit.pages,
      wrong: audit.wrong,
      writes: audit.writes,
      witnessWrites,
      durationMs: audit.durationMs,
      ...(why !== undefined && { why }),
    };
  }

  /** @param rateMiBps undefined: as fast as it can. @throws like `audit` */
  async setRate(name: string, rateMiBps: number | undefined): Promise<Guest> {
    const guest = this.#ownedWorkload(name);
    const rate = rateMiBps === undefined ? {} : { rateMiBps };
    const ask = { type: 'setRate', guest: name, epoch: guest.epoch, ...rate } as const;
    await this.#parts.agents.request(guest.host, ask);
    return this.#afterwards(name, (now) => {
      if (now.spec.workload === undefined) return now;
      const { rateMiBps: _rate, ...workload } = now.spec.workload;
      return { ...now, spec: { ...now.spec, workload: { ...workload, ...rate } } };
    });
  }

  /** @throws GodwitError `guest.not_found`, `guest.not_running` when it is lost */
  consoleAddress(name: string): ConsoleAddress {
    const { guests, agents } = this.#parts;
    const guest = guests.known(name);
    if (guest.state === 'lost') {
      throw new GodwitError('guest.not_running', { guest: name, state: guest.state });
    }
    const { address } = agents.host(guest.host);
    return { guest: name, host: guest.host, url: `ws://${address}/v1/console`, epoch: guest.epoch };
  }

  // ------------------------------------------------------------------------------- inside

  /** A machine without a program boots an image: the one named by digest, or what hosts call so. */
  #withImage(spec: GuestSpec, { elf, image, imageDigest }: CreateInput): GuestSpec {
    if (spec.kind !== 'machine' || elf !== undefined) return spec;
    return { ...spec, imageDigest: imageDigest ?? this.#parts.images.resolve(image ?? '') };
  }

  #hostFor({ host: name, memoryBytes }: CreateInput): { name: string; incarnation: string } {
    const { agents, cordons, room } = this.#parts;
    if (name !== undefined) agents.host(name);
    const why = name === undefined ? undefined : cordons.why(name);
    if (name && why) throw new GodwitError('host.cordoned', { host: name, why });
    const chosen = name ?? place(room.planHosts(), memoryBytes);
    const live = agents.connected(chosen);
    if (live === undefined) throw new GodwitError('host.unreachable', { host: chosen });
    const freeBytes = room.of(chosen, 'all');
    if (freeBytes < memoryBytes) {
      throw new GodwitError('host.no_room', { host: chosen, neededBytes: memoryBytes, freeBytes });
    }
    return live;
  }

  #ownedWorkload(name: string): GuestRecord {
    const guest = this.#parts.guests.known(name);
    this.#notMigrating(guest);
    if (guest.spec.kind !== 'workload') {
      throw new GodwitError('guest.bad_spec', { why: `guest ${name} is no workload` });
    }
    if (guest.state !== 'running' && guest.state !== 'stopped') {
      throw new GodwitError('guest.not_running', { guest: name, state: guest.state });
    }
    return guest;
  }

  #notMigrating({ spec, migration }: GuestRecord): void {
    if (migration !== undefined) {
      throw new GodwitError('guest.busy', { guest: spec.name, migration });
    }
  }

  async #removeAtOwner(guest: GuestRecord): Promise<void> {
    const { agents } = this.#parts;
    const { name } = guest.spec;
    // Its incarnation is proved dead, and the memory went with it.
    if (agents.isDead(guest.host, guest.incarnation)) return;
    try {
      await agents.request(guest.host, { type: 'removeGuest', guest: name, epoch: guest.epoch });
    } catch (thrown) {
      // Carried out before, by a coordinator that ended before it heard of it.
      if (GodwitError.from(thrown).code !== 'guest.not_found') throw thrown;
    }
  }

  /** Stale images of a lost guest go with its record, wherever they can be reached. */
  async #discardEverywhere(name: string): Promise<void> {
    const { agents, log } = this.#parts;
    for (const host of agents.hosts()) {
      const report = agents.connected(host.name)?.reports.get(name);
      if (report === undefined) continue;
      const ask = { type: 'discardGuest', guest: name, epoch: report.epoch } as const;
      await agents.request(host.name, ask, REQUEST_DEADLINE_MS).catch((error: Error) => {
        log.warn({ guest: name, host: host.name }, `stale image stays: ${error.message}`);
      });
    }
  }

  async #afterwards(name: string, change: (guest: GuestRecord) => GuestRecord): Promise<Guest> {
    const { records, views } = this.#parts;
    const guest = await records.guests.update(name, (now) => now && change(now));
    if (guest === undefined) throw new GodwitError('guest.not_found', { guest: name, known: '' });
    return views.guest(guest);
  }
}

/** @throws GodwitError `guest.bad_spec` */
function specOf(request: CreateInput, elfBytes: number | undefined): GuestSpec {
  const bad = (why: string) => new GodwitError('guest.bad_spec', { why });
  const { name, kind, memoryBytes, harts, clock, image, stopAt, workload } = request;
  const { imageDigest, append } = request;
  if (memoryBytes % PAGE_BYTES !== 0) throw bad(`memory must be a multiple of ${PAGE_BYTES} bytes`);
  if (memoryBytes > GUEST_BYTES_MAX) throw bad('memory can be at most 3.75 GiB');
  if (elfBytes !== undefined && elfBytes > ELF_BYTES_MAX) throw bad('the program exceeds 32 MiB');
  const isImage = image !== undefined || imageDigest !== undefined;
  if (kind === 'machine' && elfBytes === undefined && !isImage) {
    throw bad('a machine needs a program or an image');
  }
  if (elfBytes !== undefined && imageDigest !== undefined)
    throw bad('a program or an image, not both');
  if (kind === 'workload' && imageDigest !== undefined) throw bad('a workload boots no image');
  if (append !== undefined && (kind === 'workload' || elfBytes !== undefined)) {
    throw bad('a command line is for a kernel');
  }
  if (kind === 'machine' && workload) throw bad('a machine takes no workload pattern');
  if (kind === 'workload' && workload === undefined) throw bad('a workload needs a pattern');
  if (kind === 'workload' && elfBytes !== undefined) throw bad('a workload takes no program');
  const hotBytes = workload?.hotBytes ?? 0;
  if (hotBytes > memoryBytes) throw bad('the hot set does not fit the memory');
  return {
    name,
    kind,
    memoryBytes,
    harts,
    clock,
    ...(image !== undefined && { image }),
    ...(append !== undefined && { append }),
    ...(stopAt !== undefined && { stopAt }),
    ...(workload && {
      workload: {
        pattern: workload.pattern,
        content: workload.content,
        ...(workload.rateMiBps !== undefined && { rateMiBps: workload.rateMiBps }),
        hotPages: Math.ceil(hotBytes / PAGE_BYTES),
        seed: workload.seed,
      },
    }),
  };
}

/** Nobody knows whether the request was carried out. */
function isUnknown({ code }: GodwitError): boolean {
  return code === 'host.unreachable' || code === 'request.timed_out';
}
