/**
 * What the two ends say, as events of the core: their messages, their hellos, proofs of their ends.
 *
 *   messages, hellos, deaths --> [hearing] --(event, what came with it)--> core of this migration
 *
 * Each message is taken from the end whose word it is and from no other: a target cannot say that
 * the source kept the guest. An end is a host and an incarnation, so what a successor says is not
 * taken for the word of the one before it. Decides nothing.
 */
import {
  type CoordinatorEvent,
  fromWireError,
  GodwitError,
  type GuestReport,
  type Message,
  type MigrationReport,
  ROUNDS_LIMIT_DEFAULT,
  type Side,
} from '@godwit/protocol';
import type { LiveHost } from '../agents.ts';
import { evidenceOf } from '../guests.ts';
import type { Logger } from '../log.ts';
import type { DeathRecord } from '../records.ts';
import type { Granting } from './granting.ts';
import { type Happened, withPresence } from './migration-commit.ts';
import type { WorkingRecord } from './working-record.ts';

/** FREED may overtake ALL_PRESENT, which has the target's figures; it waits for them this long. */
const FIGURES_WAIT_MS = 1_000;
/** Far beyond the policy's limit: a source that reports more has stopped obeying it. */
const ROUNDS_KEPT_MAX = 4 * ROUNDS_LIMIT_DEFAULT;

/** What an event came with. */
export interface Context extends Omit<Happened, 'atMs'> {
  /** Whose message it is; answers go back there. */
  readonly from?: Side;
  readonly report?: Message<'roundReport'>;
}

export interface HearingParts {
  readonly log: Logger;
  readonly granting: Granting;
  dispatch(event: CoordinatorEvent, context?: Context): void;
  progress(from: Side, message: Message<'progress'>): void;
  /** The source is back: what it may have missed is said again. */
  repeatToSource(): void;
  tell(side: Side, message: Message): void;
}

export class Hearing {
  readonly #record: WorkingRecord;
  readonly #parts: HearingParts;
  #isDiscarding = false;
  #freed: { context: Context; timer: NodeJS.Timeout } | undefined;

  constructor(record: WorkingRecord, parts: HearingParts) {
    this.#record = record;
    this.#parts = parts;
  }

  close(): void {
    clearTimeout(this.#freed?.timer);
  }

  /** A person gives up the source's image: its FREED will mean DISCARDED. */
  expectDiscard(): void {
    this.#isDiscarding = true;
  }

  async message(live: LiveHost, message: Message & { migration: string }): Promise<void> {
    const from = this.#sideOf(live.name, live.incarnation);
    if (from === undefined) {
      this.#parts.log.warn({ host: live.name, message: message.type }, 'not an end of this');
    } else if (message.type === 'decide' || message.type === 'query' || message.type === 'lost') {
      this.#question(from, message);
    } else if (message.type === 'progress') {
      this.#parts.progress(from, message);
    } else if (message.type === 'phase') {
      await this.#phase(from, message);
    } else if (from === 'source') {
      this.#ofSource(message);
    } else {
      await this.#ofTarget(message);
    }
  }

  /**
   * A hello of one end.
   * @param known what it holds of this migration
   * @param guest what it holds of the guest
   */
  async hello(
    live: LiveHost,
    known: MigrationReport | undefined,
    guest: GuestReport | undefined,
  ): Promise<void> {
    const side = this.#sideOf(live.name, live.incarnation);
    if (side === undefined) return;
    if (known !== undefined) this.#record.note(side, known.phase);
    const { stage, view } = this.#record.now;
    if (this.#record.isSettled) {
      // It missed the end. An end that is past a cancel ignores it, and asks.
      const reason = 'the migration is over';
      if (known) this.#parts.tell(side, { type: 'cancelMigration', migration: view.id, reason });
    } else if (stage === 'reserving') {
      void this.#parts.granting.runIfBothAreThere();
    } else if (side === 'target') {
      if (known === undefined) this.#targetForgot(guest);
    } else if (known !== undefined) {
      await this.#parts.granting.isTaken();
      if (this.#record.now.isCancelled) this.#parts.dispatch('cancel', { from: side });
      this.#parts.repeatToSource();
    } else {
      this.#sourceForgot(guest);
    }
  }

  /** The proof is durable. */
  death(death: DeathRecord): void {
    const side = this.#sideOf(death.host, death.incarnation);
    if (side === undefined) return;
    const evidence = evidenceOf(death);
    if (side === 'source') {
      this.#parts.dispatch('sourceDied', { evidence });
      // Nobody offered the target anything yet, so nobody will ever hear of it from there.
      if (this.#record.now.stage === 'reserving') this.#parts.dispatch('refused', { evidence });
      return;
    }
    const { guest, epoch } = this.#record.now.view;
    const hasRun = death.ran.some((each) => each.guest === guest && each.epoch === epoch + 1);
    const refusal = evidence;
    if (death.discarded) this.#parts.dispatch('targetDiscarded', { evidence, refusal });
    else if (hasRun || death.provedBy === 'person') {
      this.#parts.dispatch('targetDiedRan', { evidence });
    } else this.#parts.dispatch('targetDiedNotRan', { evidence, refusal });
    this.#releaseFreed();
  }

  // ------------------------------------------------------------------------------- messages

  #question(from: Side, message: Message<'decide'> | Message<'query'> | Message<'lost'>): void {
    if (message.type === 'query') return this.#parts.dispatch('query', { from });
    if (message.type === 'lost') {
      return this.#parts.dispatch('lostReported', { from, evidence: message.evidence });
    }
    // The source asks for itself only: it has no business giving the guest away.
    if (from === 'source' && message.wants === 'target') return undefined;
    const event = message.wants === 'source' ? 'decideSource' : 'decideTarget';
    return this.#parts.dispatch(event, { from });
  }

  async #phase(from: Side, { phase, atMs, atNs, note }: Message<'phase'>): Promise<void> {
    if (from === 'source') await this.#parts.granting.isTaken();
    this.#record.note(from, phase, {
      role: from,
      phase,
      atMs,
      atNs,
      heardAtMs: Date.now(),
      note,
    });
    if (this.#record.isSettled) await this.#record.save({});
  }

  #ofSource(message: Message): void {
    const from = 'source';
    switch (message.type) {
      case 'roundReport':
        if (this.#record.now.view.rounds.length < ROUNDS_KEPT_MAX) {
          this.#parts.dispatch('roundReported', { from, report: message });
        }
        return;
      case 'kept':
        return this.#kept(message);
      case 'freed':
        return this.#onFreed(message);
      default:
        this.#parts.log.info({ from, message: message.type }, 'not a word of the source');
    }
  }

  async #ofTarget(message: Message): Promise<void> {
    const from = 'target';
    switch (message.type) {
      case 'running':
        return this.#parts.dispatch('running', { from, missingPages: message.missingPages });
      case 'refused': {
        const evidence = `the target renounced it: ${message.reason}`;
        return this.#parts.dispatch('refused', { from, evidence, refusal: message.reason });
      }
      case 'allPresent': {
        const view = withPresence(this.#record.now.view, message);
        await this.#record.save({ presence: message, view });
        this.#parts.dispatch('allPresent', { from });
        return this.#releaseFreed();
      }
      default:
        this.#parts.log.info({ from, message: message.type }, 'not a word of the target');
    }
  }

  #kept(message: Message<'kept'>): void {
    const { epoch } = this.#record.now.view;
    const error = message.error && fromWireError(message.error);
    if (error?.code === 'guest.ended') return this.#parts.dispatch('ended', { from: 'source' });
    if (message.epoch !== epoch && message.epoch !== epoch + 2) {
      this.#parts.log.error({ epoch: message.epoch }, 'kept under an epoch that cannot be');
      return undefined;
    }
    return this.#parts.dispatch('kept', {
      from: 'source',
      epoch: message.epoch,
      error: error ?? new GodwitError('migration.refused', { why: message.reason }),
    });
  }

  #onFreed(figures: Message<'freed'>): void {
    // Said again, it is no news.
    const freedAtMs = this.#freed?.context.freedAtMs ?? Date.now();
    const context: Context = { from: 'source', figures, freedAtMs };
    if (this.#isDiscarding) return this.#parts.dispatch('discarded', context);
    clearTimeout(this.#freed?.timer);
    this.#freed = { context, timer: setTimeout(() => this.#releaseFreed(), FIGURES_WAIT_MS) };
    if (this.#record.now.presence !== undefined) this.#releaseFreed();
    return undefined;
  }

  #releaseFreed(): void {
    if (this.#freed === undefined) return;
    clearTimeout(this.#freed.timer);
    this.#parts.dispatch('freed', this.#freed.context);
    this.#freed = undefined;
  }

  // ---------------------------------------------------------------------------- inventories

  /** The source's incarnation lives and does not know this migration. */
  #sourceForgot(guest: GuestReport | undefined): void {
    const { view, stage, isCancelled, core } = this.#record.now;
    if (guest === undefined) return this.#parts.dispatch('freed', { from: 'source' });
    if (guest.state === 'ended') return this.#parts.dispatch('ended', { from: 'source' });
    const isUntouched = stage === 'starting' && guest.epoch === view.epoch && !isCancelled;
    if (isUntouched && core.phase === 'granted') return void this.#parts.granting.run();
    const error = new GodwitError('migration.refused', { why: 'the source gave the move up' });
    return this.#parts.dispatch('kept', { from: 'source', epoch: guest.epoch, error });
  }

  /** The target's incarnation lives and does not know this migration. */
  #targetForgot(guest: GuestReport | undefined): void {
    if (guest?.epoch === this.#record.now.view.epoch + 1) {
      this.#parts.dispatch('running', { from: 'target', missingPages: 0 });
      return this.#parts.dispatch('allPresent', { from: 'target' });
    }
    const refusal = 'the target does not know this migration';
    return this.#parts.dispatch('refused', { from: 'target', evidence: refusal, refusal });
  }

  #sideOf(host: string, incarnation: string): Side | undefined {
    const { view, sourceIncarnation, targetIncarnation } = this.#record.now;
    if (host === view.source && incarnation === sourceIncarnation) return 'source';
    if (host === view.target && incarnation === targetIncarnation) return 'target';
    return undefined;
  }
}
