/**
 * Drives one migration's core: events in, one at a time; effects out, in the table's order.
 *
 *   agents' messages, deaths, people --event--> [runner] --effects--> store, source, target, policy
 *
 * `record` is the only effect that waits: the new state is committed, together with the guest's
 * owner, before any effect after it speaks of it. Events that come meanwhile queue. So whatever
 * point a kill -9 hits, the record is the state before a step or after it, nothing said was
 * forgotten, and agents repeat what was not answered.
 *
 * Granting is not in the table: until the source was asked, the guest cannot be touched by anything
 * that goes wrong, and the runner ends such a migration itself with `kept`.
 *
 * Main thread only; this object is the one writer of its migration's record.
 */
import {
  COORDINATOR,
  type CoordinatorEffect,
  type CoordinatorEvent,
  type CoordinatorState,
  GodwitError,
  type GuestReport,
  isSettled,
  type Message,
  type Migration,
  type MigrationReport,
  REQUEST_DEADLINE_MS,
  RESERVE_DEADLINE_MS,
  ROUNDS_LIMIT_DEFAULT,
  type Side,
} from '@godwit/protocol';
import { parseError } from '../agent-connection.ts';
import type { Agents, LiveHost } from '../agents.ts';
import { advanceEta, type Eta, startEta } from '../eta.ts';
import type { FaultPoints } from '../fault-points.ts';
import { evidenceOf } from '../guests.ts';
import type { Logger } from '../log.ts';
import { decide } from '../policy.ts';
import type { DeathRecord, MigrationRecord, Records } from '../records.ts';
import { commit } from '../store/collection.ts';
import { guestAfter, type Happened, recordAfter } from './migration-commit.ts';
import { dueBytes, mergeProgress } from './migration-progress.ts';
import { wordsFor } from './migration-words.ts';

/** FREED may overtake ALL_PRESENT, which has the target's figures; it waits for them this long. */
const FIGURES_WAIT_MS = 1_000;
/** A restarted coordinator waits this long for both ends before it gives up reserving. */
const REGRANT_DEADLINE_MS = 10_000;
const PHASES_MAX = 200;
/** Far beyond the policy's limit: a source that reports more has stopped obeying it. */
const ROUNDS_KEPT_MAX = 4 * ROUNDS_LIMIT_DEFAULT;

/** What an event came with. */
interface Context extends Omit<Happened, 'atMs'> {
  /** Whose message it is; answers go back there. */
  readonly from?: Side;
  readonly report?: Message<'roundReport'>;
}

export interface RunnerParts {
  readonly records: Records;
  readonly agents: Agents;
  readonly log: Logger;
  readonly faults: FaultPoints | undefined;
  /** The view changed: watchers are told. */
  changed(view: Migration): void;
  /** A stop that was latched is to be carried out by the owner now. */
  stopGuest(guest: string): void;
}

export class MigrationRunner {
  readonly #parts: RunnerParts;
  readonly #log: Logger;
  readonly #queue: { event: CoordinatorEvent; context: Context }[] = [];
  #record: MigrationRecord;
  #isDraining = false;
  #idle = Promise.resolve();
  #isGranting = false;
  #isDiscarding = false;
  #progress: Migration['progress'];
  #eta: Eta;
  #freedWaits: { context: Context; timer: NodeJS.Timeout } | undefined;
  #regrant: NodeJS.Timeout | undefined;

  constructor(record: MigrationRecord, parts: RunnerParts) {
    this.#record = record;
    this.#parts = parts;
    this.#log = parts.log.child({ migration: record.view.id, guest: record.view.guest });
    this.#eta = startEta(record.view.startedAtMs);
  }

  get record(): MigrationRecord {
    return this.#record;
  }

  /** As the API shows it, with what is only in memory. */
  get view(): Migration {
    const { view } = this.#record;
    return this.#progress && !this.isSettled ? { ...view, progress: this.#progress } : view;
  }

  get isSettled(): boolean {
    return isSettled(this.#record.core.phase);
  }

  dispatch(event: CoordinatorEvent, context: Context = {}): void {
    this.#queue.push({ event, context });
    if (!this.#isDraining) this.#idle = this.#drain();
  }

  /** Resolves when the events queued so far are dealt with. */
  get idle(): Promise<void> {
    return this.#idle;
  }

  close(): void {
    clearTimeout(this.#regrant);
    clearTimeout(this.#freedWaits?.timer);
  }

  // ------------------------------------------------------------------------ what people ask

  /** @throws GodwitError `migration.past_cancel` */
  async cancel(): Promise<void> {
    const { phase } = this.#record.core;
    const { id, state } = this.#record.view;
    if (this.isSettled || ['running', 'complete', 'verdictTarget'].includes(phase)) {
      throw new GodwitError('migration.past_cancel', { migration: id, phase: state });
    }
    await this.#save({ isCancelled: true });
    this.dispatch('cancel');
    if (this.#record.stage === 'granted') return;
    // The source may not know of it yet: the target need not go on reserving.
    this.#tell('target', {
      type: 'cancelMigration',
      migration: id,
      reason: 'cancelled by a person',
    });
  }

  /** The guest shall stop when it is known who owns it. */
  requestStop(): void {
    this.dispatch('guestRequest');
  }

  /** A person gives up the source's image: its FREED will mean DISCARDED. */
  expectDiscard(): void {
    this.#isDiscarding = true;
  }

  // ------------------------------------------------------------------------- what agents say

  /** A message about this migration from a connected agent. */
  onMessage(live: LiveHost, message: Message & { migration: string }): Promise<void> | void {
    const from = this.#sideOf(live.name, live.incarnation);
    if (from === undefined) {
      this.#log.warn({ host: live.name, message: message.type }, 'not an end of this migration');
      return undefined;
    }
    switch (message.type) {
      case 'roundReport':
        if (from === 'source' && this.#record.view.rounds.length < ROUNDS_KEPT_MAX) {
          this.dispatch('roundReported', { from, report: message });
        }
        return undefined;
      case 'progress':
        return this.#onProgress(from, message);
      case 'phase':
        return this.#onPhase(from, message);
      case 'running':
        if (from !== 'target') return undefined;
        return this.dispatch('running', { from, missingPages: message.missingPages });
      case 'allPresent':
        return from === 'target' ? this.#onAllPresent(message) : undefined;
      case 'refused':
        if (from !== 'target') return undefined;
        return this.dispatch('refused', {
          from,
          error: new GodwitError('migration.refused', { why: message.reason }),
          evidence: `the target renounced it: ${message.reason}`,
        });
      case 'kept':
        return from === 'source' ? this.#onKept(message) : undefined;
      case 'freed':
        return from === 'source' ? this.#onFreed(message) : undefined;
      case 'decide':
        // The source can only ask for itself: it has no business giving the guest away.
        if (from === 'source' && message.wants === 'target') return undefined;
        return this.dispatch(message.wants === 'source' ? 'decideSource' : 'decideTarget', {
          from,
        });
      case 'query':
        return this.dispatch('query', { from });
      case 'lost':
        return this.dispatch('lostReported', { from, evidence: message.evidence });
      default:
        this.#log.info({ host: live.name, message: message.type }, 'heard');
        return undefined;
    }
  }

  /** A hello of one end: what it holds of this migration, and what of the guest. */
  onHello(
    live: LiveHost,
    known: MigrationReport | undefined,
    guest: GuestReport | undefined,
  ): void {
    const side = this.#sideOf(live.name, live.incarnation);
    if (side === undefined) return;
    if (known !== undefined) return this.#onHelloKnown(side, known);
    if (this.isSettled) return;
    if (this.#record.stage === 'reserving') return void this.#grant();
    if (side === 'source') this.#onHelloOfSource(guest);
    else this.#onHelloOfTarget(guest);
  }

  onDeath(death: DeathRecord): void {
    const side = this.#sideOf(death.host, death.incarnation);
    if (side === undefined) return;
    const evidence = evidenceOf(death);
    if (side === 'source') {
      this.dispatch('sourceDied', { evidence });
      // Nobody offered the target anything yet, so nobody will ever hear of it from there.
      if (this.#record.stage === 'reserving') this.dispatch('refused', { evidence });
      return;
    }
    const { guest, epoch } = this.#record.view;
    const ran = death.ran.some((each) => each.guest === guest && each.epoch === epoch + 1);
    const isUnknown = death.provedBy === 'person';
    const error = new GodwitError('migration.refused', { why: evidence });
    if (death.discarded) this.dispatch('targetDiscarded', { evidence, error });
    else if (ran || isUnknown) this.dispatch('targetDiedRan', { evidence });
    else this.dispatch('targetDiedNotRan', { evidence, error });
    this.#releaseFreed();
  }

  /** The first event of an open migration after a start of this coordinator. */
  takeUp(): void {
    this.dispatch('restarted');
  }

  /** Begins to grant, or goes on with it; safe to call at any time. */
  grant(): void {
    void this.#grant();
  }

  // ------------------------------------------------------------------------------- the core

  async #drain(): Promise<void> {
    this.#isDraining = true;
    for (let next = this.#queue.shift(); next !== undefined; next = this.#queue.shift()) {
      await this.#step(next.event, next.context);
    }
    this.#isDraining = false;
  }

  async #step(event: CoordinatorEvent, context: Context): Promise<void> {
    const before = this.#record.core;
    const { state, effects, ignored, why } = COORDINATOR.step(before, event);
    if (ignored) {
      this.#log.info({ phase: before.phase, event, why }, 'event ignored');
      return;
    }
    this.#log.info({ phase: before.phase, event, to: state.phase }, why);
    for (const effect of effects) {
      await this.#parts.faults?.at(state.phase, effect);
      await this.#perform(effect, state, context);
    }
  }

  async #perform(
    effect: CoordinatorEffect,
    state: CoordinatorState,
    context: Context,
  ): Promise<void> {
    switch (effect) {
      case 'record':
        return this.#commit(state, context);
      case 'askPolicy':
        return this.#askPolicy(context.report as Message<'roundReport'>);
      case 'latchRequest':
        return this.#save({ isStopLatched: true });
      case 'carryOutLatched':
        if (this.#record.isStopLatched) this.#parts.stopGuest(this.#record.view.guest);
        return;
      case 'reportLost':
        this.#log.error({ evidence: context.evidence }, 'guest lost');
        return;
      case 'takeUp':
        return this.#goOn();
      default: {
        const words = wordsFor(effect, this.#matter(context.evidence), context.from);
        if (words !== undefined) this.#tell(words.to, words.message);
      }
    }
  }

  /** The step and the guest's owner become durable as one. */
  async #commit(core: CoordinatorState, context: Context): Promise<void> {
    const { records } = this.#parts;
    const { id, guest: name } = this.#record.view;
    const happened = { ...context, atMs: Date.now() };
    const hasEntered = core.phase !== this.#record.core.phase;
    this.#record = recordAfter(this.#record, core, happened);
    for (let isDone = false; !isDone; ) {
      const puts = [records.migrations.put(id, this.#record)];
      const guest = records.guests.get(name);
      if (guest !== undefined && hasEntered) {
        puts.push(records.guests.put(name, guestAfter(this.#record, guest, happened)));
      }
      // False: one of the records was written meanwhile (the guest's witness, say). Once more.
      isDone = await commit(records.store, puts);
    }
    this.#parts.changed(this.view);
  }

  /** Changes the working copy at once, so that no change is lost, and waits until it is durable. */
  async #save(change: Partial<MigrationRecord>): Promise<void> {
    this.#record = { ...this.#record, ...change };
    await this.#parts.records.migrations.update(this.#record.view.id, () => this.#record);
    this.#parts.changed(this.view);
  }

  // ------------------------------------------------------------------------------- granting

  /** Target first, so that the memory is there before the source does anything. */
  async #grant(): Promise<void> {
    if (this.#isGranting || this.#record.core.phase !== 'granted') return;
    this.#isGranting = true;
    try {
      if (this.#record.stage === 'reserving') await this.#grantTarget();
      if (this.#record.stage === 'starting') await this.#grantSource();
    } catch (thrown) {
      await this.#grantFailed(GodwitError.from(thrown));
    } finally {
      this.#isGranting = false;
    }
  }

  async #grantTarget(): Promise<void> {
    const { view } = this.#record;
    this.#throwIfCancelled();
    const deadlineMs = RESERVE_DEADLINE_MS + REQUEST_DEADLINE_MS;
    const done = await this.#parts.agents.request(
      view.target,
      this.#grantFor('target'),
      deadlineMs,
    );
    this.#throwIfCancelled();
    await this.#save({ stage: 'starting', reservedMs: done.reservedMs ?? 0 });
  }

  async #grantSource(): Promise<void> {
    const { view } = this.#record;
    await this.#parts.agents.request(view.source, this.#grantFor('source'));
    await this.#isGranted();
  }

  #grantFor(role: Side) {
    const { view, capability, sourceIncarnation, targetIncarnation } = this.#record;
    const { records } = this.#parts;
    const end = (host: string, incarnation: string) => ({
      host,
      incarnation,
      address: records.hosts.get(host)?.address ?? '',
    });
    const guest = records.guests.get(view.guest);
    if (guest === undefined)
      throw new GodwitError('guest.not_found', { guest: view.guest, known: '' });
    return {
      type: 'grant' as const,
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

  /** Any word of the source about the migration shows that it has its grant. */
  async #isGranted(): Promise<void> {
    if (this.#record.stage === 'granted') return;
    const view = { ...this.#record.view, state: 'rounds' as const };
    await this.#save({ stage: 'granted', view });
  }

  async #grantFailed(error: GodwitError): Promise<void> {
    const { stage, view } = this.#record;
    this.#log.warn({ stage, code: error.code }, `grant failed: ${error.message}`);
    const isUnknown = error.code === 'host.unreachable' || error.code === 'request.timed_out';
    if (stage === 'starting' && isUnknown) {
      // The source may have it: only its next hello can tell.
      this.#parts.agents.askAnew(view.source);
      return;
    }
    if (stage === 'granted') return;
    this.dispatch('kept', { error, epoch: view.epoch });
    this.#tell('target', { type: 'cancelMigration', migration: view.id, reason: error.message });
  }

  #throwIfCancelled(): void {
    if (!this.#record.isCancelled) return;
    throw new GodwitError('migration.cancelled', { migration: this.#record.view.id });
  }

  /** After a restart: grants that were on their way go out again; the rest comes from hellos. */
  #goOn(): void {
    const { sourceIncarnation, targetIncarnation, view, stage } = this.#record;
    for (const [host, incarnation] of [
      [view.source, sourceIncarnation],
      [view.target, targetIncarnation],
    ] as const) {
      const death = this.#parts.agents.death(host, incarnation);
      if (death !== undefined) this.onDeath(death);
    }
    if (stage !== 'reserving') return;
    this.#regrant = setTimeout(() => {
      if (this.#record.stage !== 'reserving' || this.#isGranting) return;
      void this.#grantFailed(new GodwitError('host.unreachable', { host: view.target }));
    }, REGRANT_DEADLINE_MS);
  }

  // -------------------------------------------------------------------------------- hellos

  #onHelloKnown(side: Side, known: MigrationReport): void {
    this.#notePhase(side, known.phase);
    const { id } = this.#record.view;
    if (this.isSettled) {
      // It missed the end. Cancel is ignored by an end that is past it, which will ask instead.
      this.#tell(side, { type: 'cancelMigration', migration: id, reason: 'it is over' });
      return;
    }
    if (this.#record.stage === 'reserving') return void this.#grant();
    if (side === 'target') return;
    void this.#isGranted();
    if (this.#record.isCancelled) this.dispatch('cancel', { from: side });
    this.#repeatToSource();
  }

  /** What the source may have missed while its connection was down. */
  #repeatToSource(): void {
    const effect = {
      refused: 'tellSourceRefused',
      running: 'tellSourceRunning',
      complete: 'tellSourceAllPresent',
    } as const;
    const { phase } = this.#record.core;
    if (!(phase in effect)) return;
    const words = wordsFor(effect[phase as keyof typeof effect], this.#matter(), undefined);
    if (words !== undefined) this.#tell(words.to, words.message);
  }

  /** The source's incarnation lives and does not know this migration. */
  #onHelloOfSource(guest: GuestReport | undefined): void {
    const { view, stage, isCancelled } = this.#record;
    if (guest === undefined) return this.dispatch('freed', { from: 'source' });
    if (guest.state === 'ended') return this.dispatch('ended', { from: 'source' });
    const isUntouched = stage === 'starting' && guest.epoch === view.epoch && !isCancelled;
    if (isUntouched && this.#record.core.phase === 'granted') return void this.#grant();
    const error = new GodwitError('migration.refused', { why: 'the source gave the move up' });
    this.dispatch('kept', { from: 'source', epoch: guest.epoch, error });
  }

  /** The target's incarnation lives and does not know this migration. */
  #onHelloOfTarget(guest: GuestReport | undefined): void {
    if (guest !== undefined && guest.epoch === this.#record.view.epoch + 1) {
      this.dispatch('running', { from: 'target', missingPages: 0 });
      this.dispatch('allPresent', { from: 'target' });
      return;
    }
    const why = 'the target does not know this migration';
    this.dispatch('refused', {
      from: 'target',
      error: new GodwitError('migration.refused', { why }),
      evidence: why,
    });
  }

  // -------------------------------------------------------------------------------- messages

  async #askPolicy(report: Message<'roundReport'>): Promise<void> {
    const { view, throttlePermille } = this.#record;
    const decided = view.decisions.find((each) => each.round === report.round);
    if (decided !== undefined) return this.#sendDecision(decided, throttlePermille);
    const { type: _type, ...plain } = report;
    const reports = [...view.rounds.filter((each) => each.round < report.round), plain];
    const decision = decide({
      mode: view.mode,
      maxDowntimeMs: view.maxDowntimeMs,
      mayThrottle: view.throttle,
      reports,
      throttlePermille,
    });
    const said = {
      round: report.round,
      action: decision.action,
      reason: decision.reason,
      atMs: Date.now(),
    };
    const state = decision.action === 'again' ? ('rounds' as const) : ('switchover' as const);
    await this.#save({
      stage: 'granted',
      throttlePermille: decision.throttlePermille,
      view: { ...view, state, rounds: reports, decisions: [...view.decisions, said] },
    });
    this.#log.info({ round: said.round, action: said.action }, said.reason);
    await this.#parts.faults?.at(this.#record.core.phase, 'sendDecision');
    this.#sendDecision(said, decision.throttlePermille);
  }

  #sendDecision(decision: Migration['decisions'][number], throttlePermille: number): void {
    this.#tell('source', {
      type: 'decision',
      migration: this.#record.view.id,
      round: decision.round,
      action: decision.action as Message<'decision'>['action'],
      throttlePermille,
      reason: decision.reason,
    });
  }

  #onProgress(from: Side, message: Message<'progress'>): void {
    const { view, throttlePermille } = this.#record;
    const merged = mergeProgress(this.#progress, from, message);
    this.#eta = advanceEta(this.#eta, {
      nowMs: Date.now(),
      ...dueBytes(view, merged, throttlePermille),
    });
    const { etaMs, etaRangeMs, percent } = this.#eta;
    this.#progress = {
      ...merged,
      ...(etaMs !== undefined && { etaMs }),
      ...(etaRangeMs !== undefined && { etaRangeMs }),
      percent,
    };
    this.#parts.changed(this.view);
  }

  async #onPhase(from: Side, message: Message<'phase'>): Promise<void> {
    if (from === 'source') await this.#isGranted();
    const { phase, atMs, note } = message;
    this.#notePhase(from, phase, { role: from, phase, atMs, note });
  }

  /** Kept in memory until the next record; a crash may forget the last of them. */
  #notePhase(side: Side, phase: string, entry?: Migration['phases'][number]): void {
    const { view } = this.#record;
    const name = side === 'source' ? 'sourcePhase' : 'targetPhase';
    const phases = entry ? [...view.phases, entry].slice(-PHASES_MAX) : view.phases;
    const isSwitching = side === 'source' && phase === 'stopping' && view.state === 'rounds';
    this.#record = {
      ...this.#record,
      view: { ...view, [name]: phase, phases, ...(isSwitching && { state: 'switchover' }) },
    };
    this.#parts.changed(this.view);
  }

  async #onAllPresent(message: Message<'allPresent'>): Promise<void> {
    await this.#save({ presence: message });
    this.dispatch('allPresent', { from: 'target' });
    this.#releaseFreed();
  }

  #onKept(message: Message<'kept'>): void {
    const { epoch } = this.#record.view;
    const error = message.error && GodwitError.fromData(parseError(message.error));
    if (error?.code === 'guest.ended') return this.dispatch('ended', { from: 'source' });
    if (message.epoch !== epoch && message.epoch !== epoch + 2) {
      this.#log.error({ epoch: message.epoch }, 'kept under an epoch that cannot be');
      return undefined;
    }
    return this.dispatch('kept', {
      from: 'source',
      epoch: message.epoch,
      error: error ?? new GodwitError('migration.refused', { why: message.reason }),
    });
  }

  #onFreed(message: Message<'freed'>): void {
    const context = { from: 'source', figures: message } as const;
    if (this.#isDiscarding) return this.dispatch('discarded', context);
    if (this.#record.presence !== undefined || this.isSettled)
      return this.dispatch('freed', context);
    clearTimeout(this.#freedWaits?.timer);
    const timer = setTimeout(() => this.#releaseFreed(), FIGURES_WAIT_MS);
    this.#freedWaits = { context, timer };
  }

  #releaseFreed(): void {
    if (this.#freedWaits === undefined) return;
    clearTimeout(this.#freedWaits.timer);
    this.dispatch('freed', this.#freedWaits.context);
    this.#freedWaits = undefined;
  }

  #sideOf(host: string, incarnation: string): Side | undefined {
    const { view, sourceIncarnation, targetIncarnation } = this.#record;
    if (host === view.source && incarnation === sourceIncarnation) return 'source';
    if (host === view.target && incarnation === targetIncarnation) return 'target';
    return undefined;
  }

  #matter(evidence = '') {
    const { view } = this.#record;
    const guest = this.#parts.records.guests.get(view.guest);
    return {
      migration: view.id,
      guest: view.guest,
      epoch: view.epoch + 1,
      owner: { host: guest?.host ?? view.target, epoch: guest?.epoch ?? view.epoch + 1 },
      evidence: evidence || guest?.evidence || '',
    };
  }

  #tell(side: Side, message: Message): void {
    const { view, sourceIncarnation, targetIncarnation } = this.#record;
    if (side === 'source') this.#parts.agents.tell(view.source, sourceIncarnation, message);
    else this.#parts.agents.tell(view.target, targetIncarnation, message);
  }
}
