/**
 * Performs the target core's effects: one guest, one migration.
 *
 *   grant -> reserve and touch -> offer -> dial the page channels -> ACCEPT -> pages land
 *         -> HANDOVER -> check -> LANDED -> RUN -> journal RAN -> harts -> pull the rest -> ALL_PRESENT
 *
 * The guest's memory is registered under two keys: the rounds' (write) is revoked before LANDED is said, so
 * that no late frame changes what the digest spoke of; post-copy pages come under the second one (land),
 * which places absent pages only. Main thread only; page bytes are placed by the landing threads
 * (target-channels.ts). The decisions are the tables' (packages/protocol/src/cores/target.ts).
 */
import { PageStates, takeLongestStallUs, whenRunning } from '@godwit/machine';
import {
  ASK_AGAIN_MS,
  CONNECT_DEADLINE_MS,
  GodwitError,
  LANDED_DEADLINE_MS,
  type Message,
  type MigrationReport,
  RESERVE_DEADLINE_MS,
  TARGET,
  type TargetCondition,
  type TargetEffect,
  type TargetEvent,
  type TargetFacts,
  type TargetPhase,
  VACATE_DEADLINE_MS,
  wireError,
} from '@godwit/protocol';
import type { WebSocket } from 'ws';
import type { Agent } from '../agent.ts';
import { RegionTable } from '../channel/regions.ts';
import { Guest } from '../guest/guest.ts';
import { checkStateVersion } from '../guest/guest-state.ts';
import { fromHrtime, nowNs } from '../migration/clock.ts';
import type { FaultPoints } from '../migration/fault-points.ts';
import {
  type CoordinatorMessage,
  MigrationBase,
  PROGRESS_MS,
  SERVING_ASK_AGAIN_MS,
  VERDICT_EVENT,
} from '../migration/migration-base.ts';
import { PeerLink, type PeerMessage } from '../migration/peer-link.ts';
import { checkHandover, Manifest } from './handover-check.ts';
import { TargetChannels } from './target-channels.ts';
import { presentFigures, pullProgress } from './target-figures.ts';

/** How long RUNNING waits for the stamp of the first instruction: a thread's wake-up. */
const FIRST_INSTRUCTION_WAIT_MS = 50;

export class TargetRunner extends MigrationBase<
  TargetPhase,
  TargetEvent,
  TargetEffect,
  TargetFacts,
  TargetCondition
> {
  /** Milliseconds it took to reserve and touch the memory; rejects when there is no room. */
  readonly ready: Promise<number>;
  #guest: Guest | undefined;
  /** From the offer on: whatever ends the migration meanwhile closes what comes of it. */
  #opening: Promise<TargetChannels> | undefined;
  #channels: TargetChannels | undefined;
  #regions: RegionTable | undefined;
  #keys = { write: 0, land: 0 };
  #handover: Message<'handover'> | undefined;
  #manifest: Manifest | undefined;
  #missing: Uint32Array | undefined;
  #digest = '';
  #why: GodwitError | undefined;
  #evidence = '';
  #runReceivedNs = 0;
  #firstInstruction: Promise<number> | undefined;
  #said: Promise<void> = Promise.resolve();
  #present: Message<'allPresent'> | undefined;
  #ran = false;
  #pulling = false;
  #closing: Promise<void> | undefined;
  #progressTimer: NodeJS.Timeout | undefined;

  constructor(agent: Agent, grant: Message<'grant'>, faults: FaultPoints | undefined) {
    super(agent, grant, TARGET, faults);
    this.ready = this.#reserve();
    this.ready.catch((error) => this.#refuse('reserveFailed', error));
  }

  get holds(): boolean {
    if (this.phase === 'running') return !this.core.state.complete;
    return !this.isOver;
  }

  report(): MigrationReport {
    const trouble = this.phase === 'running' ? this.#channels?.trouble : undefined;
    return {
      migration: this.grant.migration,
      guest: this.guestName,
      role: 'target',
      epoch: this.nextEpoch,
      phase: this.phase,
      ran: this.#ran,
      ...(trouble !== undefined && { trouble }),
    };
  }

  /** A peer with the right capability dialled in: the first time with an offer, later to go on. */
  attach(socket: WebSocket): void {
    this.useLink(new PeerLink(socket, 'target', this.clock));
    this.core.dispatch('peerBack');
  }

  guestEnded(): void {
    this.core.dispatch('guestEnded');
  }

  /** Of a stale image only while its channels close; afterwards it is nobody's here. */
  discard(): boolean {
    if (this.phase !== 'lost' || this.#guest === undefined) return false;
    this.core.dispatch('guestDiscard');
    return true;
  }

  /** It is nothing but an answer now: a runner is remembered for minutes, the guest moves on. */
  protected override entered(phase: TargetPhase): void {
    if (phase !== 'done') return;
    this.#guest = undefined;
    this.#handover = undefined;
    this.#missing = undefined;
  }

  async close(): Promise<void> {
    clearInterval(this.#progressTimer);
    this.endCore();
    await this.#closeChannels();
  }

  onCoordinator(message: CoordinatorMessage): void {
    switch (message.type) {
      case 'cancelMigration':
        this.#why ??= new GodwitError('migration.cancelled', { migration: message.migration });
        return this.core.dispatch('cancel');
      case 'verdict':
        return this.core.dispatch(VERDICT_EVENT[message.owner]);
      case 'answer':
        return this.#onAnswer(message);
      case 'proof':
        this.#evidence = message.evidence;
        return this.core.dispatch('sourceDied');
      case 'query':
        return this.core.dispatch('query');
      default:
        this.log.warn({ message: message.type }, 'unexpected message from the coordinator');
    }
  }

  #onAnswer(answer: Message<'answer'>): void {
    if (answer.evidence !== '') this.#evidence = answer.evidence;
    this.core.dispatch(answer.verdict === 'none' ? 'undecided' : VERDICT_EVENT[answer.verdict]);
    if (answer.peerDeath !== 'none') this.core.dispatch('sourceDied');
  }

  protected onPeer(message: PeerMessage): void {
    switch (message.type) {
      case 'offer':
        return this.start(this.#takeOffer(message), (error) =>
          this.#refuse('reserveFailed', error),
        );
      case 'handover':
        if (message.epoch === this.nextEpoch) this.#onHandover(message);
        return;
      case 'run':
        if (message.epoch !== this.nextEpoch) return;
        this.#runReceivedNs = nowNs();
        return this.core.dispatch('run');
      case 'cancel':
        return this.core.dispatch('cancel');
      case 'peerQuery':
        return this.core.dispatch('query');
      case 'peerAnswer':
        return;
      default:
        this.log.warn({ message: message.type }, 'unexpected message from the source');
    }
  }

  /** Said again, it amends the manifest of the first: a channel died in the last round. */
  #onHandover(handover: Message<'handover'>): void {
    if (this.#manifest !== undefined) return this.#manifest.amend(handover.manifest);
    this.#handover = handover;
    this.#manifest = new Manifest(handover.manifest);
    this.core.dispatch('handover');
  }

  protected perform(effect: TargetEffect): void {
    switch (effect) {
      case 'sendAccept':
        this.tellPeer({ type: 'accept', writeKey: this.#keys.write, landKey: this.#keys.land });
        return;
      case 'checkManifest':
        return this.start(this.#check(), (error) => this.#refuse('manifestBad', error));
      case 'clearMissing':
        return this.#clearMissing();
      case 'revokeRoundsKey':
        return this.#regions?.revoke(this.#keys.write);
      case 'sendLanded':
        this.tellPeer({
          type: 'landed',
          epoch: this.nextEpoch,
          digest: this.#digest,
          complete: this.core.state.complete,
          atNs: nowNs(),
        });
        return;
      case 'decideTarget':
      case 'decideSource':
        this.tellCoordinator({
          type: 'decide',
          ...this.about(),
          wants: effect === 'decideTarget' ? 'target' : 'source',
          complete: this.core.state.complete,
        });
        return;
      case 'journalRan':
        this.#ran = true;
        return this.agent.journal.ran(this.guestName, this.nextEpoch);
      case 'startHarts':
        return this.#startHarts();
      case 'sendRunning':
        return this.#sendRunning();
      case 'requestMissing':
        return this.#pull();
      case 'sendAllPresent':
        return this.#sendAllPresent();
      case 'sendRefused':
        return this.#sendRefused();
      case 'answerUndecided':
        this.tellPeer({ type: 'peerAnswer', epoch: this.nextEpoch, phase: this.phase });
        return;
      case 'queryCoordinator':
        this.tellCoordinator({ type: 'query', ...this.about() });
        return;
      case 'stopHarts':
        // It is not to be started again by a stop that came late.
        return void this.#guest?.quarantine();
      case 'drop':
      case 'free':
        return void this.#drop();
      case 'keepStaleImage':
        return void this.#keepStaleImage();
      case 'carryOutLatched':
        return this.#guest?.carryOutLatched();
      case 'reportLost':
        this.tellCoordinator({ type: 'lost', ...this.about(), evidence: this.#evidence });
        return;
      case 'parkFaulting': // a hart parks by itself in the gate, and the landing threads redial
      case 'reconnect': // the source dials; this end takes it in `attach`
      case 'latchEnd': // the guest latches its own events while it is leased
        return;
    }
  }

  protected deadlineMs(phase: TargetPhase): number | undefined {
    switch (phase) {
      case 'preparing':
        return RESERVE_DEADLINE_MS + CONNECT_DEADLINE_MS;
      case 'landed':
        return LANDED_DEADLINE_MS;
      case 'asking':
        return ASK_AGAIN_MS;
      case 'running':
        return SERVING_ASK_AGAIN_MS;
      default:
        return undefined;
    }
  }

  protected override broken(error: GodwitError): void {
    this.#why ??= error;
  }

  async #reserve(): Promise<number> {
    const { agent, grant } = this;
    // What an earlier attempt left may still be closing its sockets: this one must not fail for it.
    await agent.pool.vacated(this.guestName, VACATE_DEADLINE_MS);
    const started = nowNs();
    const guest = await Guest.reserve({
      spec: grant.spec,
      epoch: this.nextEpoch,
      pool: agent.pool,
      log: this.log,
    });
    this.#guest = guest;
    if (this.phase === 'dropped') {
      await this.#drop();
      throw this.#why ?? new GodwitError('migration.cancelled', { migration: grant.migration });
    }
    guest.leaseTo(grant.migration);
    agent.guests.set(guest.name, guest);
    return (nowNs() - started) / 1e6;
  }

  async #takeOffer(offer: Message<'offer'>): Promise<void> {
    await this.ready;
    if (this.phase !== 'preparing' || this.#opening !== undefined) return;
    const guest = this.#guest as Guest;
    if (offer.pages !== guest.memory.pages || offer.harts !== guest.memory.harts) {
      const why = `the offer has ${offer.pages} pages and ${offer.harts} harts, the grant ${guest.memory.pages} and ${guest.memory.harts}`;
      throw new GodwitError('migration.refused', { why });
    }
    checkStateVersion(this.grant.spec.kind, offer.stateVersion);
    const regions = new RegionTable();
    this.#regions = regions;
    const whole = { firstPage: 0, pages: guest.memory.pages };
    this.#keys = {
      write: regions.registerRegion({ ...whole, access: 'write' }).rkey,
      land: regions.registerRegion({ ...whole, access: 'land' }).rkey,
    };
    this.#opening = TargetChannels.open({
      memory: guest.memory,
      fresh: guest.fresh,
      regions,
      migration: this.grant.migration,
      capability: this.grant.capability,
      host: offer.pageHost,
      pagePorts: offer.pagePorts,
      faultsPort: offer.faultsPort,
      readKey: offer.readKey,
      onFailed: (error) => this.#channelsFailed(error),
    });
    this.#channels = await this.#opening;
    this.core.dispatch('reserved');
  }

  async #check(): Promise<void> {
    const channels = this.#channels as TargetChannels;
    const checked = await checkHandover({
      handover: this.#handover as Message<'handover'>,
      manifest: this.#manifest as Manifest,
      complete: this.grant.mode === 'precopy',
      guest: this.#guest as Guest,
      channels,
      revoke: () => channels.revoke(this.#keys.write),
      verify: this.grant.verify,
    });
    this.#missing = checked.missing;
    this.#digest = checked.digest;
    this.core.dispatch(checked.missing === undefined ? 'manifestComplete' : 'manifestMissing');
  }

  /**
   * From here on missing pages may land: the source pushes as soon as it has heard RUNNING, which may
   * be long before this end comes to ask for them.
   */
  #clearMissing(): void {
    const guest = this.#guest as Guest;
    const channels = this.#channels as TargetChannels;
    const missing = this.#missing as Uint32Array;
    const states = new PageStates(guest.memory);
    states.setAbsentFrom(missing);
    states.setGated(true);
    channels.startPostcopy({
      missing,
      key: this.#keys.land,
      pageHashes: (this.#handover as Message<'handover'>).pageHashes,
    });
    guest.wholeAfter(channels.allPresent);
  }

  #startHarts(): void {
    const guest = this.#guest as Guest;
    guest.epoch = this.nextEpoch;
    takeLongestStallUs(guest.memory);
    guest.start();
  }

  /** RUNNING carries the stamp of the first instruction, which the hart's own thread takes. */
  #sendRunning(): void {
    this.#firstInstruction ??= this.#waitForFirstInstruction();
    this.#inOrder(async () => {
      const firstInstructionNs = await (this.#firstInstruction as Promise<number>);
      const runReceivedNs = this.#runReceivedNs || firstInstructionNs;
      this.tellPeer({
        type: 'peerRunning',
        epoch: this.nextEpoch,
        firstInstructionNs,
        runReceivedNs,
      });
      const missingPages = this.#channels?.remaining() ?? 0;
      this.tellCoordinator({ type: 'running', ...this.about(), missingPages, atMs: Date.now() });
    });
  }

  /** RUNNING waits for a stamp; nothing said after it may overtake it. */
  #inOrder(say: () => Promise<void> | void): void {
    this.#said = this.#said.then(say).catch((error) => this.log.error({ err: error }, 'not said'));
  }

  async #waitForFirstInstruction(): Promise<number> {
    const { memory } = this.#guest as Guest;
    return whenRunning(memory, FIRST_INSTRUCTION_WAIT_MS).then(fromHrtime, nowNs);
  }

  #pull(): void {
    const channels = this.#channels as TargetChannels;
    if (this.#pulling) return channels.requestMissing();
    this.#pulling = true;
    this.#progressTimer = setInterval(() => this.#sendProgress(), PROGRESS_MS);
    channels.allPresent.then(
      () => {
        new PageStates((this.#guest as Guest).memory).setGated(false);
        this.core.dispatch('allPresent');
      },
      (error) => this.#channelsFailed(error),
    );
  }

  /** Nothing of this before the first instruction: the hart may have to share this thread's processor. */
  #sendAllPresent(): void {
    clearInterval(this.#progressTimer);
    const guest = this.#guest;
    this.#inOrder(() => {
      const about = { ...this.about(), verified: this.grant.verify };
      this.#present ??= presentFigures(about, guest as Guest, this.#channels);
      const { faults } = this.#present;
      this.tellPeer({ type: 'peerAllPresent', epoch: this.nextEpoch, faults });
      this.tellCoordinator({ ...this.#present, atMs: Date.now() });
      const written = this.#channels?.written() ?? null;
      if (written !== null) guest?.dirtyLog.beganAsZerosBut(written);
      guest?.releaseLease(this.grant.migration);
      this.agent.changed();
      void this.#closeChannels();
    });
  }

  #sendProgress(): void {
    const { memory } = this.#guest as Guest;
    this.tellCoordinator(
      pullProgress(this.grant.migration, memory, this.#channels as TargetChannels),
    );
  }

  #refuse(event: TargetEvent, thrown: unknown): void {
    this.#why ??= GodwitError.from(thrown);
    this.log.warn({ err: thrown }, 'refused');
    this.core.dispatch(event);
  }

  #channelsFailed(error: Error): void {
    this.log.warn({ err: error }, 'page channels failed');
    if (this.phase === 'preparing' || this.phase === 'landing') this.#refuse('cancel', error);
    this.agent.changed();
  }

  #sendRefused(): void {
    const why = this.#why ?? this.cancelled;
    this.tellPeer({ type: 'peerRefused', epoch: this.nextEpoch, error: wireError(why) });
    this.tellCoordinator({ type: 'refused', ...this.about(), reason: why.message });
  }

  async #closeChannels(): Promise<void> {
    this.#closing ??= this.#opening?.then(
      (channels) => channels.close(),
      () => {},
    );
    await this.#closing;
    this.#opening = undefined;
    this.#channels = undefined;
  }

  /**
   * No page lands in it any more, and no migration holds it: a person may give it up whenever, long after
   * this runner is forgotten. Its state is what keeps it from running.
   */
  async #keepStaleImage(): Promise<void> {
    const guest = this.#guest as Guest;
    guest.state = 'lost';
    clearInterval(this.#progressTimer);
    await this.#closeChannels();
    for (const event of guest.takeLatched()) event.gone();
    guest.releaseLease(this.grant.migration);
    this.#guest = undefined;
    this.agent.changed();
  }

  async #drop(): Promise<void> {
    clearInterval(this.#progressTimer);
    await this.#closeChannels();
    const guest = this.#guest;
    this.#guest = undefined;
    if (guest === undefined) return;
    if (this.agent.guests.get(guest.name) === guest) this.agent.guests.delete(guest.name);
    await guest.release();
    this.agent.changed();
  }
}
