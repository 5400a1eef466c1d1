/**
 * Leave to move the guest, given to both ends before the rounds: target first, then source.
 *
 *   record open --> [granting] --grant--> target (reserves memory) --done--> grant --> source
 *
 * Not in the core's table, because until the source is asked nothing that goes wrong can touch the
 * guest: such a migration ends here with `kept`. From the moment the source may have its grant only
 * the source can say how it stands, and a grant that was lost is sent again, which is idempotent.
 */
import {
  GodwitError,
  type Message,
  REQUEST_DEADLINE_MS,
  RESERVE_DEADLINE_MS,
  type Side,
} from '@godwit/protocol';
import type { Agents } from '../agents.ts';
import type { Logger } from '../log.ts';
import type { Records } from '../records.ts';
import type { Happened } from './migration-commit.ts';
import type { WorkingRecord } from './working-record.ts';

/** A restarted coordinator waits this long for both ends before it gives up reserving. */
const TAKE_UP_DEADLINE_MS = 10_000;

export interface GrantingParts {
  readonly records: Records;
  readonly agents: Agents;
  readonly log: Logger;
  /** The migration is over and the guest was never touched. */
  kept(happened: Omit<Happened, 'atMs'>): void;
}

export class Granting {
  readonly #parts: GrantingParts;
  readonly #record: WorkingRecord;
  #isBusy = false;
  #deadline: NodeJS.Timeout | undefined;

  constructor(record: WorkingRecord, parts: GrantingParts) {
    this.#record = record;
    this.#parts = parts;
  }

  close(): void {
    clearTimeout(this.#deadline);
  }

  /** Begins, or goes on where the record stands; safe to call at any time. */
  async run(): Promise<void> {
    if (this.#isBusy || this.#record.now.core.phase !== 'granted') return;
    this.#isBusy = true;
    try {
      if (this.#record.now.stage === 'reserving') await this.#grantTarget();
      if (this.#record.now.stage === 'starting') await this.#grantSource();
    } catch (thrown) {
      this.#failed(GodwitError.from(thrown));
    } finally {
      this.#isBusy = false;
    }
  }

  /** After a restart: as soon as both ends are there, or never. */
  takeUp(): void {
    if (this.#record.now.stage !== 'reserving') return;
    this.#deadline = setTimeout(() => {
      if (this.#isBusy || this.#record.now.stage !== 'reserving') return;
      this.#failed(new GodwitError('host.unreachable', { host: this.#missingHost() ?? '' }));
    }, TAKE_UP_DEADLINE_MS);
  }

  /** One end came back while the grant was out or on its way. */
  async runIfBothAreThere(): Promise<void> {
    if (this.#missingHost() === undefined) await this.run();
  }

  /** Any word of the source about the migration shows that it has its grant. */
  async isTaken(): Promise<void> {
    if (this.#record.now.stage === 'granted' || this.#record.isSettled) return;
    const view = { ...this.#record.now.view, state: 'rounds' as const };
    await this.#record.save({ stage: 'granted', view });
  }

  async #grantTarget(): Promise<void> {
    const { target } = this.#record.now.view;
    this.#throwIfCancelled();
    const deadlineMs = RESERVE_DEADLINE_MS + REQUEST_DEADLINE_MS;
    const done = await this.#parts.agents.request(target, this.#grant('target'), deadlineMs);
    this.#throwIfCancelled();
    if (this.#record.isSettled) return;
    await this.#record.save({ stage: 'starting', reservedMs: done.reservedMs ?? 0 });
  }

  async #grantSource(): Promise<void> {
    await this.#parts.agents.request(this.#record.now.view.source, this.#grant('source'));
    await this.isTaken();
  }

  #grant(role: Side): Omit<Message<'grant'>, 'request'> {
    const { view, capability, sourceIncarnation, targetIncarnation } = this.#record.now;
    const { records } = this.#parts;
    const end = (host: string, incarnation: string) => ({
      host,
      incarnation,
      address: records.hosts.get(host)?.address ?? '',
    });
    const guest = records.guests.get(view.guest);
    if (guest === undefined) {
      throw new GodwitError('guest.not_found', { guest: view.guest, known: '' });
    }
    return {
      type: 'grant',
      migration: view.id,
      role,
      spec: guest.spec,
      epoch: view.epoch,
      source: end(view.source, sourceIncarnation),
      target: end(view.target, targetIncarnation),
      capability,
      mode: view.mode,
      channels: view.channels,
      maxBandwidthBytesPerS: view.maxBandwidthBytesPerS,
      maxDowntimeMs: view.maxDowntimeMs,
      verify: view.verify,
    };
  }

  #failed(error: GodwitError): void {
    const { stage, view, targetIncarnation } = this.#record.now;
    const { agents, log } = this.#parts;
    log.warn({ stage, code: error.code }, `grant failed: ${error.message}`);
    if (stage === 'granted' || this.#record.isSettled) return;
    const isUnknown = error.code === 'host.unreachable' || error.code === 'request.timed_out';
    if (stage === 'starting' && isUnknown) {
      // The source may have it: only its next hello can tell.
      agents.askAnew(view.source);
      return;
    }
    this.#parts.kept({ error, epoch: view.epoch });
    const reason = error.message;
    agents.tell(view.target, targetIncarnation, {
      type: 'cancelMigration',
      migration: view.id,
      reason,
    });
  }

  #throwIfCancelled(): void {
    if (!this.#record.now.isCancelled) return;
    throw new GodwitError('migration.cancelled', { migration: this.#record.now.view.id });
  }

  #missingHost(): string | undefined {
    const { view, sourceIncarnation, targetIncarnation } = this.#record.now;
    const { agents } = this.#parts;
    if (agents.connected(view.source)?.incarnation !== sourceIncarnation) return view.source;
    if (agents.connected(view.target)?.incarnation !== targetIncarnation) return view.target;
    return undefined;
  }
}
