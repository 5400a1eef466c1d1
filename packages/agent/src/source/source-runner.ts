/**
 * Performs the source core's effects: one guest, one migration.
 *
 *   grant -> listen, dial the target, offer -> rounds -> stop -> HANDOVER -> RUN -> serve -> free
 *
 * What is still to be sent is one bitmap, `#unsent`: pages whose newest bytes have not landed. A
 * round takes it together with a harvest of the dirty log; stripes of a channel that died come back
 * into it. At the stop it is either sent as the last round (pre-copy) or handed over as the
 * missing-page bitmap (post-copy): that a page cannot be in both is what makes hybrid safe.
 *
 * Main thread only; page bytes are moved by the channel threads (source-channels.ts). The decisions
 * are the tables' (packages/protocol/src/cores/source.ts), the figures are measured here.
 */
import { makeBitmap, orInto, popcount, runTimes, setBit } from '@godwit/machine';
import {
  ASK_AGAIN_MS,
  CONNECT_DEADLINE_MS,
  GodwitError,
  LANDING_DEADLINE_MS,
  type Message,
  type MigrationReport,
  OFFERED_DEADLINE_MS,
  RESERVE_DEADLINE_MS,
  type RoundReport,
  SOURCE,
  type SourceCondition,
  type SourceEffect,
  type SourceEvent,
  type SourceFacts,
  type SourcePhase,
  STOP_DEADLINE_MS,
} from '@godwit/protocol';
import type { Agent } from '../agent.ts';
import type { Guest } from '../guest/guest.ts';
import { fromHrtime, nowNs } from '../migration/clock.ts';
import { handoverDigest } from '../migration/digest.ts';
import type { FaultPoints } from '../migration/fault-points.ts';
import {
  type CoordinatorMessage,
  MigrationBase,
  PROGRESS_MS,
  SERVING_ASK_AGAIN_MS,
} from '../migration/migration-base.ts';
import type { PeerMessage } from '../migration/peer-link.ts';
import { fromWireError, wireError } from '../migration/wire-error.ts';
import { Dialler } from './dialler.ts';
import { SourceChannels } from './source-channels.ts';
import { SourceFigures } from './source-figures.ts';

const VERDICT_EVENT = {
  source: 'verdictSource',
  target: 'verdictTarget',
  superseded: 'superseded',
} as const;

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
  readonly #guest: Guest;
  readonly #figures = new SourceFigures();
  /** Pages whose newest bytes have not landed; all of them at first. */
  readonly #unsent: Uint32Array;
  readonly #harvested: Uint32Array;
  /** Pages of each round's frames: what the target compares with what landed. */
  readonly #manifest: number[] = [];
  readonly #dialler: Dialler;
  #channels: SourceChannels | undefined;
  #closing: Promise<void> | undefined;
  /** Its memory and its room on this host are being given back. */
  #freeing: Promise<void> | undefined;
  #keys = { write: 0, land: 0 };
  #round = 0;
  #waiting: RoundReport | undefined;
  #decision: Message<'decision'> | undefined;
  #why: GodwitError | undefined;
  #evidence = '';
  #keptEpoch: number;
  #handedDigest = '';
  #missing: Uint32Array | undefined;
  #result: ReturnType<SourceFigures['result']> | undefined;
  #state: Uint8Array = new Uint8Array(0);
  #hashes: SharedArrayBuffer | undefined;
  #progressTimer: NodeJS.Timeout | undefined;

  constructor(
    agent: Agent,
    guest: Guest,
    grant: Message<'grant'>,
    faults: FaultPoints | undefined,
  ) {
    super(agent, grant, SOURCE, faults);
    this.#guest = guest;
    this.#dialler = new Dialler(agent, grant, this.clock);
    this.#keptEpoch = guest.epoch;
    this.#unsent = makeBitmap(guest.memory.pages);
    this.#harvested = makeBitmap(guest.memory.pages);
    for (let page = 0; page < guest.memory.pages; page++) setBit(this.#unsent, page);
    guest.leaseTo(grant.migration);
    this.ready = this.#open();
    this.ready.catch(() => this.#abandon());
  }

  /** This runner holds the guest or its pages: its own events are latched here. */
  get holds(): boolean {
    return !this.core.isFinal;
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

  // ------------------------------------------------------------------ what comes in

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
        this.#keys = { write: message.writeKey, land: message.landKey };
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
    const isGood = landed.digest === this.#handedDigest;
    if (!isGood) {
      this.#why = new GodwitError('migration.digest', {
        expected: this.#handedDigest,
        found: landed.digest,
      });
    }
    this.core.dispatch(isGood ? 'landedGood' : 'landedBad');
  }

  /** What this host says of its copy once it may run elsewhere: nothing more than it knows. */
  protected override entered(phase: SourcePhase): void {
    if (phase === 'offered' || phase === 'released') this.#guest.state = 'doubt';
    else if (phase === 'serving') this.#guest.state = 'frozen';
  }

  protected override linkLost(why: string): void {
    if (this.core.guest !== 'here' && this.phase !== 'stopping') return;
    this.#why ??= new GodwitError('peer.unreachable', { address: this.grant.target.address, why });
  }

  // --------------------------------------------------------------------- effects

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
        this.#figures.stopRequested();
        return;
      case 'sendRest':
        return this.start(this.#stopAndSendRest(), (error) => this.#roundFailed(error));
      case 'sendHandover':
        return this.#sendHandover();
      case 'sendRun':
        this.tellPeer({ type: 'run', epoch: this.nextEpoch });
        return this.#figures.runSent();
      case 'sendCancel':
        this.tellPeer({
          type: 'cancel',
          epoch: this.nextEpoch,
          reason: this.#why?.message ?? 'cancelled',
        });
        return;
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
        this.#figures.pushing();
        if (this.#missing)
          this.#channels?.startPush({ missing: this.#missing, key: this.#keys.land });
        return;
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
        return void this.#reportFreed();
      case 'reportDiscarded':
        return void this.#reportFreed();
      case 'reportEnded':
        this.#guest.releaseLease();
        this.#why = new GodwitError('guest.ended', { guest: this.guestName });
        return this.#sayKept();
      case 'reportLost':
        this.tellCoordinator({ type: 'lost', ...this.about(), evidence: this.#evidence });
        return;
    }
  }

  protected deadlineMs(phase: SourcePhase): number | undefined {
    switch (phase) {
      case 'preparing':
        return RESERVE_DEADLINE_MS + CONNECT_DEADLINE_MS;
      case 'stopping':
        return STOP_DEADLINE_MS + this.#figures.expectedMs(popcount(this.#unsent));
      case 'offered':
      case 'cancelling':
        return OFFERED_DEADLINE_MS + this.#figures.verifyMs * 3;
      case 'asking':
      case 'released':
        return ASK_AGAIN_MS;
      case 'serving':
        return SERVING_ASK_AGAIN_MS;
      default:
        return undefined;
    }
  }

  // --------------------------------------------------------------- offer and rounds

  /** Listens for page channels; the first dial to the target is made behind it. */
  async #open(): Promise<number> {
    const { agent, grant } = this;
    this.#figures.begin();
    this.#channels = await SourceChannels.open({
      memory: this.#guest.memory,
      migration: grant.migration,
      capability: grant.capability,
      channels: grant.channels,
      listenHost: agent.options.listen.host,
      ports: agent.options.pagePorts,
      maxBandwidthBytes: grant.maxBandwidthBytesPerS,
      onFailed: (error) => this.#roundFailed(error),
    });
    void this.#dial();
    this.#progressTimer = setInterval(() => this.#sendProgress(), PROGRESS_MS);
    return 0;
  }

  async #dial(): Promise<void> {
    try {
      this.useLink(await this.#dialler.dial(false));
      this.#offer();
    } catch (error) {
      this.#why ??= GodwitError.from(error);
      this.core.dispatch('peerLost');
    }
  }

  #offer(): void {
    const channels = this.#channels as SourceChannels;
    this.tellPeer({
      type: 'offer',
      pages: this.#guest.memory.pages,
      harts: this.#guest.memory.harts,
      stateVersion: 1,
      pageHost: this.agent.pageAddress,
      pagePorts: [...channels.pagePorts],
      faultsPort: channels.faultsPort,
      readKey: channels.readKey,
    });
  }

  async #sendRound(): Promise<void> {
    const channels = this.#channels as SourceChannels;
    const withholds = this.grant.mode === 'postcopy';
    if (this.#round === 0) await channels.attached(LANDING_DEADLINE_MS);
    // Given up meanwhile: the dirty log may be the next migration's by now.
    if (this.phase !== 'rounds') return;
    await this.#guest.harvest(this.#harvested);
    orInto(this.#unsent, this.#harvested);
    if (withholds) {
      this.#waiting = this.#figures.emptyRound(this.grant.migration, popcount(this.#unsent));
    } else {
      const result = await this.#sendUnsent();
      const remaining = this.#guest.countDirty() + popcount(this.#unsent);
      this.#waiting = this.#figures.round(this.grant.migration, result, remaining);
    }
    this.core.dispatch('roundDone');
  }

  /** Sends what is unsent as one round; what a dying channel did not land is unsent again. */
  async #sendUnsent(): Promise<Awaited<ReturnType<SourceChannels['sendRound']>>> {
    const channels = this.#channels as SourceChannels;
    // The channels copy the map before this returns.
    const sending = channels.sendRound(this.#round, this.#unsent, this.#keys.write);
    this.#unsent.fill(0);
    const result = await sending;
    channels.takeRequeued(this.#unsent);
    this.#manifest[this.#round] = result.pages;
    this.#round += 1;
    return result;
  }

  async #stopAndSendRest(): Promise<void> {
    const mustComplete = this.#decision?.action === 'stopAndCopy';
    await this.#guest.stopHarts();
    this.#figures.stopped(fromHrtime(runTimes(this.#guest.memory).stoppedNs));
    await this.#guest.harvest(this.#harvested);
    orInto(this.#unsent, this.#harvested);
    while (mustComplete && popcount(this.#unsent) > 0) this.#figures.add(await this.#sendUnsent());
    this.#figures.lastPagesSent();
    await this.#digestFrozen();
    this.core.dispatch(popcount(this.#unsent) === 0 ? 'stoppedComplete' : 'stoppedMissing');
  }

  /** Machine state, and with --verify a hash of every page, while nothing writes any more. */
  async #digestFrozen(): Promise<void> {
    this.#state = this.#guest.captureState();
    if (popcount(this.#unsent) > 0) this.#missing = this.#unsent.slice();
    if (this.grant.verify) {
      const started = nowNs();
      this.#hashes = new SharedArrayBuffer(this.#guest.memory.pages * 8);
      await this.#channels?.hashPages(null, this.#hashes);
      this.#figures.verified(nowNs() - started);
    }
    this.#handedDigest = handoverDigest(this.#state, this.#hashes, this.#missing);
  }

  #sendHandover(): void {
    const { memory } = this.#guest;
    const missing = this.#missing;
    this.tellPeer({
      type: 'handover',
      epoch: this.nextEpoch,
      manifest: this.#manifest,
      missing: missing
        ? new Uint8Array(missing.buffer, 0, Math.ceil(memory.pages / 8))
        : new Uint8Array(0),
      missingPages: missing ? popcount(missing) : 0,
      state: this.#state,
      digest: this.#handedDigest,
      pageHashes: this.#hashes ? Uint8Array.from(new Uint8Array(this.#hashes)) : new Uint8Array(0),
      stoppedNs: this.#figures.stoppedNs,
      console: { outputOffset: 0, inputOffset: 0 },
    });
    this.#figures.handedOver();
  }

  #roundFailed(error: Error): void {
    if (this.core.isFinal) return;
    this.log.warn({ err: error }, 'the transfer failed');
    if (this.core.guest === 'frozen' || this.phase === 'released') return;
    this.#why ??= GodwitError.from(error);
    this.core.dispatch('cancel');
  }

  // ------------------------------------------------------------------ link and end

  #reconnect(): void {
    const isWanted = () => this.link === undefined && !this.core.isFinal;
    void this.#dialler.redial(isWanted, (link) => {
      this.useLink(link);
      this.core.dispatch('peerBack');
    });
  }

  #resume(): void {
    this.#guest.epoch = this.#keptEpoch;
    this.#guest.state = 'running';
    this.#guest.start();
  }

  async #closeChannels(): Promise<void> {
    this.#closing ??= this.#channels?.close();
    await this.#closing;
  }

  /** As soon as it runs there: a console must not wait for pages or for sockets to close. */
  #sendConsolesAway(): void {
    const { target } = this.grant;
    this.agent.consoleMoved(this.guestName, this.nextEpoch, target.host, target.address);
  }

  /** Memory may be used again only when no socket can read it any more. */
  async #free(): Promise<void> {
    await this.#closeChannels();
    this.agent.journal.gone(this.guestName, this.grant.epoch);
    this.agent.guests.delete(this.guestName);
    await this.#guest.release();
    this.agent.changed();
  }

  #reportKept(): void {
    if (this.#guest.state === 'running') this.#guest.releaseLease();
    this.#sayKept();
    this.#guest.carryOutLatched();
  }

  #sayKept(): void {
    const why =
      this.#why ?? new GodwitError('migration.cancelled', { migration: this.grant.migration });
    this.tellCoordinator({
      type: 'kept',
      ...this.about(this.#keptEpoch),
      reason: why.message,
      error: wireError(why),
    });
  }

  async #reportFreed(): Promise<void> {
    const channels = this.#channels as SourceChannels;
    this.#result ??= this.#figures.result(channels.progress());
    const result = this.#result;
    // Not before its room is free again: the next migration may be one back to here.
    await this.#freeing;
    this.tellCoordinator({ type: 'freed', ...this.about(), ...result });
  }

  #sendProgress(): void {
    const channels = this.#channels;
    if (channels === undefined || this.core.isFinal) return;
    const { pagesSent, bytesSent } = channels.progress();
    this.tellCoordinator({
      type: 'progress',
      migration: this.grant.migration,
      round: this.#round,
      pagesSent,
      pagesTotal: this.#guest.memory.pages,
      bytes: bytesSent,
      bytesPerS: this.#figures.rate(bytesSent),
      faults: 0,
      remainingPages: popcount(this.#unsent),
    });
  }

  /** Opening failed: the guest was never touched. */
  #abandon(): void {
    this.#guest.releaseLease();
    void this.close();
  }
}
