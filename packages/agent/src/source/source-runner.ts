/**
 * Performs the source core's effects: one guest, one migration.
 *
 *   grant -> listen, dial the target, offer -> rounds -> stop -> HANDOVER -> RUN -> serve -> free
 *
 * What is still to be sent, and the sending of it, is in rounds.ts. Main thread only; page bytes are moved
 * by the channel threads (source-channels.ts). The decisions are the tables'
 * (packages/protocol/src/cores/source.ts), the figures are measured here.
 */
import {
  assert,
  fromWireError,
  GodwitError,
  type Message,
  type MigrationReport,
  type RoundReport,
  SOURCE,
  type SourceCondition,
  type SourceEffect,
  type SourceEvent,
  type SourceFacts,
  type SourcePhase,
  wireError,
} from '@godwit/protocol';
import type { Agent } from '../agent.ts';
import type { Guest } from '../guest/guest.ts';
import type { FaultPoints } from '../migration/fault-points.ts';
import {
  type CoordinatorMessage,
  MigrationBase,
  PROGRESS_MS,
  VERDICT_EVENT,
} from '../migration/migration-base.ts';
import type { PeerLink, PeerMessage } from '../migration/peer-link.ts';
import { Dialler } from './dialler.ts';
import { Rounds } from './rounds.ts';
import { SourceChannels } from './source-channels.ts';
import { overdueError, sourceDeadlineMs } from './source-deadlines.ts';
import { SourceFigures } from './source-figures.ts';

const DEATH_EVENT = {
  ran: 'targetDiedRan',
  notRan: 'targetDiedNotRan',
  discarded: 'targetDiscarded',
} as const;

export class SourceRunner extends MigrationBase<
  SourcePhase,
  SourceEvent,
  SourceEffect,
  SourceFacts,
  SourceCondition
> {
  /** Settles when the offer can go out: the page channels listen. */
  readonly ready: Promise<number>;
  /** While the migration holds it: a runner is remembered for minutes, a guest must not be. */
  #held: Guest | undefined;
  readonly #figures = new SourceFigures();
  readonly #dialler: Dialler;
  /** Under way from the start: whatever ends the migration meanwhile closes what comes of it. */
  #opening: Promise<SourceChannels> | undefined;
  #channels: SourceChannels | undefined;
  #closing: Promise<void> | undefined;
  /** Its memory and its room on this host are being given back. */
  #freeing: Promise<void> | undefined;
  #rounds: Rounds | undefined;
  #landKey = 0;
  #waiting: RoundReport | undefined;
  #decision: Message<'decision'> | undefined;
  #why: GodwitError | undefined;
  #evidence = '';
  #keptEpoch: number;
  #result: ReturnType<SourceFigures['result']> | undefined;
  #progressTimer: NodeJS.Timeout | undefined;

  constructor(
    agent: Agent,
    guest: Guest,
    grant: Message<'grant'>,
    faults: FaultPoints | undefined,
  ) {
    super(agent, grant, SOURCE, faults);
    this.#held = guest;
    this.#dialler = new Dialler(agent, grant, this.clock);
    this.#keptEpoch = guest.epoch;
    guest.leaseTo(grant.migration);
    this.ready = this.#open();
    this.ready.catch((error) => this.#abandon(error));
  }

  get #guest(): Guest {
    if (this.#held !== undefined) return this.#held;
    throw new GodwitError('internal', { why: `guest ${this.guestName} was given back` });
  }

  /** This runner holds the guest or its pages: its own events are latched here. */
  get holds(): boolean {
    return !this.isOver;
  }

  report(): MigrationReport {
    return {
      migration: this.grant.migration,
      guest: this.guestName,
      role: 'source',
      epoch: this.nextEpoch,
      phase: this.phase,
      ...(this.#waiting && { waitingRound: this.#waiting.round }),
      ran: false,
    };
  }

  guestEnded(): void {
    this.core.dispatch('guestEnded');
  }

  discard(): boolean {
    if (this.phase !== 'serving' && this.phase !== 'lost') return false;
    this.core.dispatch('guestDiscard');
    return true;
  }

  async close(): Promise<void> {
    clearInterval(this.#progressTimer);
    this.endCore();
    await this.#closeChannels();
  }

  onCoordinator(message: CoordinatorMessage): void {
    switch (message.type) {
      case 'decision':
        return this.#onDecision(message);
      case 'cancelMigration':
        this.log.info({ phase: this.phase, reason: message.reason }, 'asked to cancel');
        this.#why ??= new GodwitError('migration.cancelled', { migration: message.migration });
        return this.core.dispatch('cancel');
      case 'verdict':
        return this.core.dispatch(VERDICT_EVENT[message.owner]);
      case 'answer':
        return this.#onAnswer(message);
      case 'proof':
        this.#evidence = message.evidence;
        return this.core.dispatch(
          DEATH_EVENT[message.discarded ? 'discarded' : message.ran ? 'ran' : 'notRan'],
        );
      case 'running':
        return this.core.dispatch('running');
      case 'refused':
        this.#why ??= new GodwitError('migration.refused', { why: message.reason });
        return this.core.dispatch('refused');
      case 'allPresent':
        return this.core.dispatch('allPresent');
      default:
        this.log.warn({ message: message.type }, 'unexpected message from the coordinator');
    }
  }

  #onAnswer(answer: Message<'answer'>): void {
    if (answer.evidence !== '') this.#evidence = answer.evidence;
    // The end of the target before what it said: a stale image is kept, not freed.
    if (answer.peerDeath !== 'none') this.core.dispatch(DEATH_EVENT[answer.peerDeath]);
    if (answer.runningSeen) this.core.dispatch('running');
    if (answer.allPresentSeen) this.core.dispatch('allPresent');
    if (answer.refusedSeen) this.core.dispatch('refused');
    if (answer.verdict !== 'none') this.core.dispatch(VERDICT_EVENT[answer.verdict]);
    this.core.dispatch('undecided');
  }

  #onDecision(decision: Message<'decision'>): void {
    if (this.#waiting === undefined || decision.round !== this.#waiting.round) return;
    this.#waiting = undefined;
    this.#decision = decision;
    this.log.info({ round: decision.round, action: decision.action }, decision.reason);
    if (decision.action === 'giveUp') {
      this.#why ??= new GodwitError('migration.gave_up', { why: decision.reason });
      this.core.dispatch('policyGiveUp');
    } else if (decision.action === 'again') {
      this.core.dispatch(decision.throttlePermille > 0 ? 'policyThrottle' : 'policyRound');
    } else {
      this.core.dispatch('policySwitch');
    }
  }

  protected onPeer(message: PeerMessage): void {
    switch (message.type) {
      case 'accept':
        if (this.#rounds) this.#rounds.key = message.writeKey;
        this.#landKey = message.landKey;
        return this.core.dispatch('accepted');
      case 'landed':
        return this.#onLanded(message);
      case 'peerRunning':
        this.#figures.running(this.clock, message);
        return this.core.dispatch('running');
      case 'peerRefused':
        this.#why ??= fromWireError(message.error);
        return this.core.dispatch('refused');
      case 'peerAllPresent':
        return this.core.dispatch('allPresent');
      case 'peerQuery':
        this.tellPeer({ type: 'peerAnswer', epoch: this.nextEpoch, phase: this.phase });
        return;
      case 'peerAnswer':
        return this.core.dispatch('undecided');
      default:
        this.log.warn({ message: message.type }, 'unexpected message from the target');
    }
  }

  #onLanded(landed: Message<'landed'>): void {
    this.#figures.landed();
    const expected = this.#rounds?.digest ?? '';
    const isGood = landed.digest === expected;
    if (!isGood) {
      this.#why = new GodwitError('migration.digest', { expected, found: landed.digest });
    }
    this.core.dispatch(isGood ? 'landedGood' : 'landedBad');
  }

  /** What this host says of its copy once it may run elsewhere is no more than it knows. */
  protected override entered(phase: SourcePhase): void {
    if (phase === 'offered' || phase === 'released') this.#guest.state = 'doubt';
    else if (phase === 'serving') this.#guest.state = 'frozen';
    else if (phase === 'kept' || phase === 'ended') this.#letGo();
  }

  protected override linkLost(why: string): void {
    if (this.core.guest !== 'here' && this.phase !== 'stopping') return;
    this.#why ??= new GodwitError('peer.unreachable', { address: this.grant.target.address, why });
  }

  protected perform(effect: SourceEffect): void {
    switch (effect) {
      case 'startRound':
        return this.start(this.#sendRound(), (error) => this.#roundFailed(error));
      case 'throttle':
        return this.#guest.setThrottle(this.#decision?.throttlePermille ?? 0);
      case 'reportRound':
        if (this.#waiting) this.tellCoordinator({ type: 'roundReport', ...this.#waiting });
        return;
      case 'stopHarts':
        return this.#figures.stopRequested();
      case 'sendRest':
        return this.start(this.#stopAndSendRest(), (error) => this.#roundFailed(error));
      case 'sendHandover':
        return this.#sendHandover();
      case 'sendRun':
        this.tellPeer({ type: 'run', epoch: this.nextEpoch });
        return this.#figures.runSent();
      case 'sendCancel':
        return this.#sendCancel();
      case 'decideSource':
        this.tellCoordinator({
          type: 'decide',
          ...this.about(),
          wants: 'source',
          complete: this.core.state.complete,
        });
        return;
      case 'queryPeer':
        this.tellPeer({ type: 'peerQuery', epoch: this.nextEpoch });
        return;
      case 'queryCoordinator':
        this.tellCoordinator({ type: 'query', ...this.about() });
        return;
      case 'reconnect':
        return this.#reconnect();
      case 'serve':
        return this.#channels?.serve();
      case 'push':
        return this.#push();
      case 'journalKept':
        this.#keptEpoch = this.grant.epoch + 2;
        return this.agent.journal.owned(this.guestName, this.#keptEpoch);
      case 'resumeAtEpochPlus2':
      case 'resumeAtSameEpoch':
        return this.#resume();
      case 'endTransfer':
        this.#guest.setThrottle(0);
        clearInterval(this.#progressTimer);
        void this.#closeChannels();
        return;
      case 'free':
        this.#sendConsolesAway();
        this.#freeing = this.#free();
        return;
      case 'keepStaleImage':
        this.#guest.state = 'lost';
        return;
      case 'reportKept':
        return this.#reportKept();
      case 'reportFreed':
      case 'reportDiscarded':
        return void this.#reportFreed();
      case 'reportEnded':
        this.#held?.releaseLease(this.grant.migration);
        this.#why = new GodwitError('guest.ended', { guest: this.guestName });
        return this.#sayKept();
      case 'reportLost':
        this.tellCoordinator({ type: 'lost', ...this.about(), evidence: this.#evidence });
        return;
    }
  }

  protected deadlineMs(phase: SourcePhase): number | undefined {
    return sourceDeadlineMs(phase, () => ({
      figures: this.#figures,
      unsentPages: this.#rounds?.unsentPages ?? 0,
    }));
  }

  protected override overdue(phase: SourcePhase, afterMs: number): void {
    this.#why ??= overdueError(phase, afterMs);
  }

  protected override broken(error: GodwitError): void {
    this.#why ??= error;
  }

  /** Listens for page channels and dials the target meanwhile; the offer is made behind it. */
  async #open(): Promise<number> {
    const { agent, grant } = this;
    this.#figures.begin();
    const dialled = this.#dialler.dial(false);
    dialled.catch(() => {});
    const hangUp = () => void dialled.then((link) => link.close()).catch(() => {});
    let channels: SourceChannels;
    try {
      this.#opening = SourceChannels.open({
        memory: this.#guest.memory,
        migration: grant.migration,
        capability: grant.capability,
        channels: grant.channels,
        faults: grant.mode !== 'precopy',
        listenHost: agent.options.listen.host,
        ports: agent.options.pagePorts,
        maxBandwidthBytes: grant.maxBandwidthBytesPerS,
        onFailed: (error) => this.#roundFailed(error),
      });
      channels = await this.#opening;
    } catch (thrown) {
      hangUp();
      throw thrown;
    }
    if (this.core.isFinal) {
      hangUp();
      return 0;
    }
    this.#channels = channels;
    this.#rounds = new Rounds(this.#guest, grant, channels, this.#figures);
    this.start(this.#offerOver(dialled), (error) => this.#unreachable(error));
    this.#progressTimer = setInterval(() => this.#sendProgress(), PROGRESS_MS);
    return 0;
  }

  async #offerOver(dialled: Promise<PeerLink>): Promise<void> {
    const link = await dialled;
    if (this.core.isFinal) return link.close();
    this.useLink(link);
    this.tellPeer(this.#transfer().rounds.offer(this.agent.pageAddress));
  }

  async #sendRound(): Promise<void> {
    const { rounds, channels } = this.#transfer();
    if (rounds.number === 0) await channels.attached('pages');
    // Given up meanwhile: the dirty log may be the next migration's by now.
    if (this.phase !== 'rounds') return;
    const report = await rounds.send();
    await channels.attached('faults');
    this.#waiting = report;
    this.core.dispatch('roundDone');
  }

  async #stopAndSendRest(): Promise<void> {
    const isPrecopy = this.grant.mode === 'precopy';
    const mustComplete = isPrecopy || this.#decision?.action === 'stopAndCopy';
    const { rounds } = this.#transfer();
    const isComplete = await rounds.stopAndSendRest(mustComplete);
    this.core.dispatch(isComplete ? 'stoppedComplete' : 'stoppedMissing');
    if ((await rounds.restSent()) && this.phase === 'offered') this.#sendHandover();
  }

  #sendHandover(): void {
    this.tellPeer(this.#transfer().rounds.handover(this.nextEpoch));
    this.#figures.handedOver();
  }

  #sendCancel(): void {
    const reason = this.#why?.message ?? 'cancelled';
    this.tellPeer({ type: 'cancel', epoch: this.nextEpoch, reason });
  }

  #push(): void {
    const { rounds, channels } = this.#transfer();
    this.#figures.pushing();
    if (rounds.missing) channels.startPush({ missing: rounds.missing, key: this.#landKey });
  }

  /** What exists from the moment the page channels listen, before any of the core's effects. */
  #transfer(): { rounds: Rounds; channels: SourceChannels } {
    assert(this.#rounds !== undefined && this.#channels !== undefined, 'no transfer is open');
    return { rounds: this.#rounds, channels: this.#channels };
  }

  #roundFailed(error: Error): void {
    if (this.core.isFinal) return;
    this.log.warn({ err: error }, 'the transfer failed');
    if (this.core.guest === 'frozen' || this.phase === 'released') return;
    this.#why ??= GodwitError.from(error);
    this.core.dispatch('cancel');
  }

  #reconnect(): void {
    const isWanted = () => this.link === undefined && !this.core.isFinal && !this.isClosed;
    void this.#dialler.redial(isWanted, (link) => {
      this.useLink(link);
      this.core.dispatch('peerBack');
    });
  }

  #resume(): void {
    this.#guest.epoch = this.#keptEpoch;
    this.#guest.start();
  }

  async #closeChannels(): Promise<void> {
    this.#closing ??= this.#opening?.then(
      (channels) => channels.close(),
      () => {},
    );
    await this.#closing;
  }

  /** As soon as it runs there: a console must not wait for pages or for sockets to close. */
  #sendConsolesAway(): void {
    const { target } = this.grant;
    this.agent.consoleMoved(this.guestName, this.nextEpoch, target.host, target.address);
  }

  /** Memory may be used again only when no socket can read it any more. */
  async #free(): Promise<void> {
    // What there is to report goes with the channels.
    this.#result ??= this.#figures.result(this.#transfer().channels.progress());
    await this.#closeChannels();
    this.agent.journal.gone(this.guestName, this.grant.epoch);
    this.agent.guests.delete(this.guestName);
    await this.#guest.release();
    this.#letGo();
    this.agent.changed();
  }

  /** Nothing here refers to its memory any more. */
  #letGo(): void {
    this.#held = undefined;
    this.#rounds = undefined;
    this.#opening = undefined;
    this.#channels = undefined;
  }

  #reportKept(): void {
    const guest = this.#held;
    if (guest?.state === 'running') guest.releaseLease(this.grant.migration);
    this.#sayKept();
    guest?.carryOutLatched();
  }

  #sayKept(): void {
    const why = this.#why ?? this.cancelled;
    const about = this.about(this.#keptEpoch);
    this.tellCoordinator({ type: 'kept', ...about, reason: why.message, error: wireError(why) });
  }

  async #reportFreed(): Promise<void> {
    // Not before its room is free again: the next migration may be one back to here.
    await this.#freeing;
    assert(this.#result !== undefined, 'freed is reported before anything was freed');
    this.tellCoordinator({ type: 'freed', ...this.about(), ...this.#result });
  }

  #sendProgress(): void {
    if (this.#rounds === undefined || this.core.isFinal) return;
    this.tellCoordinator(this.#rounds.progress());
  }

  #unreachable(error: Error): void {
    this.#why ??= GodwitError.from(error);
    this.core.dispatch('peerLost');
  }

  /** Opening failed: the guest was never touched, and the coordinator hears why it stayed. */
  #abandon(error: Error): void {
    this.#why ??= GodwitError.from(error);
    this.core.dispatch('cancel');
  }
}
