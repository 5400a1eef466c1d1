/**
 * What the source's and the target's runner have in common: the grant, the peer link with its
 * clock, talking to the coordinator, and the bookkeeping of a core's phases.
 *
 * The runners hold the state of one migration; nothing here decides anything. Main thread only.
 */
import { timingSafeEqual } from 'node:crypto';
import {
  ASK_AGAIN_MS,
  type Core,
  type Facts,
  GodwitError,
  type Message,
  type MigrationReport,
} from '@godwit/protocol';
import type { Agent } from '../agent.ts';
import { ClockOffset, nowNs } from './clock.ts';
import { CoreRunner } from './core-runner.ts';
import type { FaultPoints } from './fault-points.ts';
import type { PeerLink, PeerMessage } from './peer-link.ts';

export const PROGRESS_MS = 250;
/** While pages are served or awaited nobody is in doubt: ask rarely. */
export const SERVING_ASK_AGAIN_MS = 4 * ASK_AGAIN_MS;

/**
 * How long news of a guest that stands still may wait. Sooner, writing and encoding it here and taking it in
 * at the coordinator would want the processors that the switchover needs; a switchover in trouble takes
 * longer.
 */
const NEWS_WAITS_MS = 50;

/** How long a link outlives its migration, so that the last words on it arrive. */
const LINGER_MS = 2_000;

/** What a verdict is to a core. */
export const VERDICT_EVENT = {
  source: 'verdictSource',
  target: 'verdictTarget',
  superseded: 'superseded',
} as const;

interface News {
  readonly message: Message<'phase'>;
  readonly event: string;
  readonly why: string;
}

/** Messages of the coordinator that carry a migration. */
export type CoordinatorMessage = Message & { migration: string };

export abstract class MigrationBase<
  P extends string,
  E extends string,
  X extends string,
  F extends Facts,
  W extends string,
> {
  protected readonly agent: Agent;
  protected readonly grant: Message<'grant'>;
  protected readonly core: CoreRunner<P, E, X, F, W>;
  protected readonly clock = new ClockOffset();
  protected readonly log: Agent['log'];
  protected link: PeerLink | undefined;
  readonly #finals: (() => void)[] = [];
  /** Phases entered that neither the coordinator nor the log has been told of. */
  #news: News[] = [];
  #newsTimer: NodeJS.Timeout | undefined;
  #ended = false;

  protected constructor(
    agent: Agent,
    grant: Message<'grant'>,
    core: Core<P, E, X, F, W>,
    faults: FaultPoints | undefined,
  ) {
    this.agent = agent;
    this.grant = grant;
    this.log = agent.log.child({
      migration: grant.migration,
      guest: grant.spec.name,
      role: grant.role,
    });
    const hooks = {
      perform: (effect: X, event: E) => this.#perform(effect, event),
      entered: (phase: P, event: E, why: string) => this.#entered(phase, event, why),
      ignored: (phase: P, event: E, why: string) =>
        this.log.debug({ phase, event, why }, 'event ignored'),
      deadlineMs: (phase: P) => this.deadlineMs(phase),
      failed: (effect: X, thrown: unknown) => this.#failed(effect, thrown),
      overdue: (phase: P, afterMs: number) => this.overdue(phase, afterMs),
    };
    this.core = new CoreRunner(core, hooks, faults);
  }

  get guestName(): string {
    return this.grant.spec.name;
  }

  get phase(): P {
    return this.core.phase;
  }

  /** Epoch under which the target runs the guest. */
  protected get nextEpoch(): number {
    return this.grant.epoch + 1;
  }

  isCapability(given: string): boolean {
    const ours = Buffer.from(this.grant.capability);
    const theirs = Buffer.from(given);
    return ours.length === theirs.length && timingSafeEqual(ours, theirs);
  }

  /** It only answers questions from now on. */
  get isOver(): boolean {
    return this.core.isFinal;
  }

  /** The agent ends, or the migration is forgotten: nothing is begun any more. */
  protected get isClosed(): boolean {
    return this.#ended;
  }

  /** Calls back once, when no row leads out of the phase any more. */
  onFinal(callback: () => void): void {
    this.#finals.push(callback);
  }

  coordinatorLost(): void {
    this.core.dispatch('coordinatorLost' as E);
  }

  coordinatorBack(): void {
    this.core.dispatch('coordinatorBack' as E);
  }

  abstract report(): MigrationReport;
  protected abstract perform(effect: X, event: E): void;
  protected abstract deadlineMs(phase: P): number | undefined;
  protected abstract onPeer(message: PeerMessage): void;

  /** Takes a link that stands; what it brings goes to `onPeer`, its loss is an event. */
  protected useLink(link: PeerLink): void {
    if (this.#ended) return link.close();
    this.link?.close();
    this.link = link;
    link.compareClocks();
    link.listen({
      message: (message) => this.onPeer(message),
      lost: (why) => {
        if (this.link !== link) return;
        this.link = undefined;
        this.log.info({ why }, 'control link lost');
        this.linkLost(why);
        this.core.dispatch('peerLost' as E);
      },
    });
  }

  /** The phase was entered and its effects are begun; a runner that shows it overrides this. */
  protected entered(_phase: P): void {}

  /** A runner that must remember what it waited for in vain overrides this. */
  protected overdue(_phase: P, _afterMs: number): void {}

  /** Something of ours failed, and ends the migration unless it was only a word. */
  protected broken(_error: GodwitError): void {}

  /** A runner that must remember why it lost its peer overrides this. */
  protected linkLost(_why: string): void {}

  /** @returns false when there is no link; the core has heard `peerLost` */
  protected tellPeer(message: Message): boolean {
    return this.link?.send(message) ?? false;
  }

  /** @returns false when the coordinator is out of reach; `coordinatorBack` will come */
  protected tellCoordinator(message: Message): boolean {
    this.#tellNews();
    this.agent.metrics.said(message);
    return this.agent.link.send(message);
  }

  /** Why it ended, when nothing else is known. */
  protected get cancelled(): GodwitError {
    return new GodwitError('migration.cancelled', { migration: this.grant.migration });
  }

  /** The fields every message to the coordinator about this migration begins with. */
  protected about(epoch = this.nextEpoch): { migration: string; guest: string; epoch: number } {
    return { migration: this.grant.migration, guest: this.guestName, epoch };
  }

  /** Starts something that takes time; what it throws goes to `failed` instead of nowhere. */
  protected start(work: Promise<void>, failed: (error: GodwitError | Error) => void): void {
    work.catch((error: Error) => {
      if (!this.#ended) failed(error);
    });
  }

  protected endCore(): void {
    this.#ended = true;
    clearTimeout(this.#newsTimer);
    for (const news of this.#news.splice(0)) this.#note(news);
    this.core.stop();
    this.link?.close();
    this.link = undefined;
  }

  /** Before anything else is said: the coordinator hears of phases in their order. */
  #tellNews(): void {
    if (this.#news.length === 0) return;
    clearTimeout(this.#newsTimer);
    this.#newsTimer = undefined;
    for (const news of this.#news.splice(0)) {
      this.#note(news);
      this.agent.link.send(news.message);
    }
    this.agent.changed();
  }

  #note({ message, event, why }: News): void {
    const { phase, atMs } = message;
    this.log.info({ phase, event, atMs }, why);
  }

  #perform(effect: X, event: E): void {
    this.log.debug({ phase: this.core.phase, event, effect }, 'effect');
    this.perform(effect, event);
  }

  #failed(effect: X, thrown: unknown): void {
    this.log.error({ phase: this.core.phase, effect, err: thrown }, 'an effect failed');
    this.broken(GodwitError.from(thrown));
  }

  #entered(phase: P, event: E, why: string): void {
    this.entered(phase);
    const message: Message<'phase'> = {
      type: 'phase',
      migration: this.grant.migration,
      role: this.grant.role,
      phase,
      epoch: this.nextEpoch,
      atMs: Date.now(),
      atNs: Math.round(nowNs()),
      note: `${event}: ${why}`,
    };
    this.#news.push({ message, event, why });
    if (!this.core.isBlackout) this.#tellNews();
    else this.#newsTimer ??= setTimeout(() => this.#tellNews(), NEWS_WAITS_MS);
    if (!this.core.isFinal) return;
    setTimeout(() => this.link?.close(), LINGER_MS).unref();
    for (const callback of this.#finals.splice(0)) callback();
  }
}
