/**
 * Drives one migration's core: events in, one at a time; effects out, in the table's order.
 *
 *   agents' messages, deaths, people --event--> [runner] --effects--> store, source, target, policy
 *
 * `record` is the effect that waits: the new state is committed, together with the guest's owner,
 * before any effect after it speaks of it. Events that come meanwhile queue. So whatever point a
 * kill -9 hits, the record is the state before a step or after it, nothing that was said is
 * forgotten, and agents repeat what was not answered.
 *
 * Main thread only; this object is the one writer of its migration's record.
 */
import {
  COORDINATOR,
  type CoordinatorEffect,
  type CoordinatorEvent,
  type CoordinatorState,
  GodwitError,
  isSettled,
  type Message,
  type Migration,
  type Side,
} from '@godwit/protocol';
import type { Agents } from '../agents.ts';
import { advanceEta, type Eta, startEta } from '../eta.ts';
import type { FaultPoints } from '../fault-points.ts';
import { evidenceOf } from '../guests.ts';
import type { Logger } from '../log.ts';
import { decide } from '../policy.ts';
import type { DeathRecord, MigrationRecord, Records } from '../records.ts';
import { Granting } from './granting.ts';
import { type Context, Hearing } from './hearing.ts';
import { dueBytes, mergeProgress } from './migration-progress.ts';
import { type Matter, wordsFor } from './migration-words.ts';
import { WorkingRecord } from './working-record.ts';

export interface RunnerParts {
  readonly records: Records;
  readonly agents: Agents;
  readonly log: Logger;
  readonly faults: FaultPoints | undefined;
  /** The view changed: watchers are told. */
  changed(view: Migration): void;
  /** Over, and the guest's owner is known again; a proof of its end may have come before. */
  settled(guest: string, view: Migration): Promise<void>;
  /** A stop that was latched is to be carried out by the owner now. */
  stopGuest(guest: string): void;
}

/** Phases from which the guest cannot be taken back any more. */
const PAST_CANCEL: readonly string[] = ['verdictTarget', 'running', 'complete'];

/** What is said again to a source that was away while it happened. */
const REPEATED: { readonly [phase: string]: CoordinatorEffect } = {
  refused: 'tellSourceRefused',
  running: 'tellSourceRunning',
  complete: 'tellSourceAllPresent',
};

export class MigrationRunner {
  readonly hearing: Hearing;
  readonly granting: Granting;
  readonly #parts: RunnerParts;
  readonly #log: Logger;
  readonly #record: WorkingRecord;
  readonly #queue: { event: CoordinatorEvent; context: Context }[] = [];
  #isDraining = false;
  #idle = Promise.resolve();
  #progress: Migration['progress'];
  #eta: Eta;

  constructor(record: MigrationRecord, parts: RunnerParts) {
    const { id, guest, startedAtMs } = record.view;
    this.#parts = parts;
    this.#log = parts.log.child({ migration: id, guest });
    this.#eta = startEta(startedAtMs);
    this.#record = new WorkingRecord(record, parts.records, () => parts.changed(this.view));
    this.granting = new Granting(this.#record, {
      records: parts.records,
      agents: parts.agents,
      log: this.#log,
      kept: (happened) => this.dispatch('kept', happened),
    });
    this.hearing = new Hearing(this.#record, {
      log: this.#log,
      granting: this.granting,
      dispatch: (event, context) => this.dispatch(event, context),
      progress: (from, message) => this.#onProgress(from, message),
      repeatToSource: () => this.#repeatToSource(),
      tell: (side, message) => this.#tell(side, message),
    });
  }

  /** As it is on disk, and with it the two below: nobody outside sees more. */
  get record(): MigrationRecord {
    return this.#record.shown;
  }

  get isSettled(): boolean {
    return isSettled(this.record.core.phase);
  }

  /** As the API shows it, with what is only in memory. */
  get view(): Migration {
    const { view } = this.record;
    return this.#progress && !this.isSettled ? { ...view, progress: this.#progress } : view;
  }

  /** Resolves when the events queued so far are dealt with. */
  get idle(): Promise<void> {
    return this.#idle;
  }

  close(): void {
    this.granting.close();
    this.hearing.close();
  }

  dispatch(event: CoordinatorEvent, context: Context = {}): void {
    this.#queue.push({ event, context });
    if (!this.#isDraining) this.#idle = this.#drain();
  }

  /** Proofs that were durable before this runner was there to hear of them. */
  hearDeaths(): void {
    for (const death of this.#deaths()) this.hearing.death(death);
  }

  #deaths(): DeathRecord[] {
    const { view, sourceIncarnation, targetIncarnation } = this.#record.now;
    const { agents } = this.#parts;
    const source = agents.death(view.source, sourceIncarnation);
    const target = agents.death(view.target, targetIncarnation);
    return [source, target].filter((death) => death !== undefined);
  }

  /** What makes a guest lost is often the second of two events: the evidence names the deaths too. */
  #withProofs(context: Context): Context {
    const proofs = this.#deaths().map(evidenceOf);
    const evidence = new Set(
      context.evidence === undefined ? proofs : [context.evidence, ...proofs],
    );
    return evidence.size > 0 ? { ...context, evidence: [...evidence].join('; ') } : context;
  }

  /** @throws GodwitError `migration.past_cancel` */
  async cancel(): Promise<void> {
    const { core, view } = this.#record.now;
    if (this.isSettled || PAST_CANCEL.includes(core.phase)) {
      throw new GodwitError('migration.past_cancel', { migration: view.id, phase: view.state });
    }
    await this.#record.save({ isCancelled: true });
    this.dispatch('cancel');
    if (this.#record.now.stage === 'granted') return;
    // The source may not know of it yet: the target need not go on reserving.
    const reason = 'cancelled by a person';
    this.#tell('target', { type: 'cancelMigration', migration: view.id, reason });
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
    const before = this.#record.now.core;
    const { state, effects, ignored, why } = COORDINATOR.step(before, event);
    if (ignored) {
      this.#log.info({ phase: before.phase, event, why }, 'event ignored');
      return;
    }
    // Questions are repeated every second while pages are pulled: only changes are news.
    const level = state.phase === before.phase ? 'debug' : 'info';
    this.#log[level]({ phase: before.phase, event, to: state.phase }, why);
    for (const effect of effects) {
      await this.#parts.faults?.at(state.phase, effect);
      if (effect !== 'record') await this.#perform(effect, context);
      else if (!(await this.#commit(state, context))) return;
    }
  }

  /** False: the step is not to be, nor what it would have said. */
  async #commit(state: CoordinatorState, context: Context): Promise<boolean> {
    const happened = { ...this.#withProofs(context), atMs: Date.now() };
    if (!(await this.#record.commit(state, happened))) {
      this.#log.warn({ to: state.phase }, 'not followed: the guest was restored or removed since');
      return false;
    }
    if (state.phase === 'kept') this.#dismissTarget();
    if (this.isSettled) await this.#parts.settled(this.#record.now.view.guest, this.view);
    return true;
  }

  async #perform(effect: Exclude<CoordinatorEffect, 'record'>, context: Context): Promise<void> {
    const { now } = this.#record;
    switch (effect) {
      case 'askPolicy':
        return this.#askPolicy(context.report as Message<'roundReport'>);
      case 'latchRequest':
        return this.#record.save({ isStopLatched: true });
      case 'carryOutLatched':
        if (now.isStopLatched) this.#parts.stopGuest(now.view.guest);
        return;
      case 'reportLost':
        this.#log.error({ evidence: context.evidence }, 'guest lost');
        return;
      case 'takeUp':
        this.hearDeaths();
        return this.granting.takeUp();
      default:
        this.#say(effect, context);
    }
  }

  // ------------------------------------------------------------------------- what is said

  #say(effect: CoordinatorEffect, { from, evidence }: Context): void {
    const words = wordsFor(effect, this.#matter(evidence), from);
    if (words !== undefined) this.#tell(words.to, words.message);
  }

  #repeatToSource(): void {
    const effect = REPEATED[this.#record.now.core.phase];
    if (effect !== undefined) this.#say(effect, {});
  }

  #matter(evidence = ''): Matter {
    const { view } = this.#record.now;
    const guest = this.#parts.records.guests.get(view.guest);
    return {
      migration: view.id,
      guest: view.guest,
      epoch: view.epoch + 1,
      owner: { host: guest?.host ?? view.target, epoch: guest?.epoch ?? view.epoch + 1 },
      evidence: evidence || (guest?.evidence ?? ''),
    };
  }

  #tell(side: Side, message: Message): void {
    const { view, sourceIncarnation, targetIncarnation } = this.#record.now;
    if (side === 'source') this.#parts.agents.tell(view.source, sourceIncarnation, message);
    else this.#parts.agents.tell(view.target, targetIncarnation, message);
  }

  /**
   * The source kept the guest, perhaps because it never reached the target: that one need not hold room for
   * it until its own deadline, or a second attempt would find it taken. Past a cancel it ignores this.
   */
  #dismissTarget(): void {
    const reason = 'the migration is over';
    this.#tell('target', { type: 'cancelMigration', migration: this.view.id, reason });
  }

  // ------------------------------------------------------------------- rounds and progress

  /** A round that was decided before is answered as before: the decision may have been lost. */
  async #askPolicy(report: Message<'roundReport'>): Promise<void> {
    const { view, throttlePermille } = this.#record.now;
    const decided = view.decisions.find((each) => each.round === report.round);
    if (decided !== undefined) return this.#sendDecision(decided);
    const { type: _type, ...plain } = report;
    const rounds = [...view.rounds.filter((each) => each.round < report.round), plain];
    const { mode, maxDowntimeMs, throttle: mayThrottle } = view;
    const decision = decide({
      mode,
      maxDowntimeMs,
      mayThrottle,
      reports: rounds,
      throttlePermille,
    });
    const { action, reason } = decision;
    const said = { round: report.round, action, reason, atMs: Date.now() };
    await this.#record.save({
      stage: 'granted',
      throttlePermille: decision.throttlePermille,
      view: {
        ...view,
        state: action === 'again' ? 'rounds' : 'switchover',
        rounds,
        decisions: [...view.decisions, said],
      },
    });
    this.#log.info({ round: said.round, action }, reason);
    await this.#parts.faults?.at(this.#record.now.core.phase, 'sendDecision');
    this.#sendDecision(said);
  }

  #sendDecision({ round, action, reason }: Migration['decisions'][number]): void {
    const { view, throttlePermille } = this.#record.now;
    this.#tell('source', {
      type: 'decision',
      migration: view.id,
      round,
      action: action as Message<'decision'>['action'],
      throttlePermille,
      reason,
    });
  }

  #onProgress(from: Side, message: Message<'progress'>): void {
    const { view, throttlePermille } = this.#record.now;
    const merged = mergeProgress(this.#progress, from, message);
    const due = dueBytes(view, merged, throttlePermille);
    this.#eta = advanceEta(this.#eta, { nowMs: Date.now(), ...due });
    const { etaMs, etaRangeMs, percent } = this.#eta;
    this.#progress = {
      ...merged,
      ...(etaMs !== undefined && { etaMs }),
      ...(etaRangeMs !== undefined && { etaRangeMs }),
      percent,
    };
    this.#parts.changed(this.view);
  }
}
