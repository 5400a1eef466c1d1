/**
 * What of a guest is still to be sent, and the sending of it, up to the HANDOVER.
 *
 *   dirty log -> harvest -> [rounds: unsent] -> source channels -> ... -> HANDOVER {manifest, missing}
 *
 * One bitmap says it all: pages whose newest bytes have not landed. A round takes it together with a
 * harvest of the dirty log; stripes of a channel that died come back into it. At the stop it is either
 * sent as the last round (pre-copy) or handed over as the missing-page bitmap (post-copy): that a page
 * cannot be in both is what makes hybrid safe.
 *
 * HANDOVER does not wait for the last round: it overtakes it on the control link, with the pages the round
 * should bring, and the target waits for the barriers. Should a channel die in that round, what it lost
 * goes again, and HANDOVER is said once more with what has become of the manifest.
 *
 * Main thread only; when to do what is the runner's (source-runner.ts).
 */
import { makeBitmap, orInto, popcount, runTimes, setBit } from '@godwit/machine';
import type { Message, RoundReport } from '@godwit/protocol';
import type { PageHashes } from '../channel/page-hashes.ts';
import type { Guest } from '../guest/guest.ts';
import { stateVersion } from '../guest/guest-state.ts';
import { fromHrtime, nowNs } from '../migration/clock.ts';
import { handoverDigest } from '../migration/digest.ts';
import type { RoundResult, SourceChannels } from './source-channels.ts';
import type { SourceFigures } from './source-figures.ts';

const NOTHING = new Uint8Array(0);

export class Rounds {
  readonly #guest: Guest;
  readonly #grant: Message<'grant'>;
  readonly #channels: SourceChannels;
  readonly #figures: SourceFigures;
  readonly #unsent: Uint32Array;
  readonly #harvested: Uint32Array;
  /** Pages of each round's frames: what the target compares with what landed. */
  readonly #manifest: number[] = [];
  /** The last round, under way while the HANDOVER is; resolves to the passes it took. */
  #rest = Promise.resolve(0);
  #sent = 0;
  #state: Uint8Array = NOTHING;
  #hashes: PageHashes | undefined;
  #missing: Uint32Array | undefined;
  #digest = '';
  /** The target's key for rounds, from its ACCEPT. */
  key = 0;

  constructor(
    guest: Guest,
    grant: Message<'grant'>,
    channels: SourceChannels,
    figures: SourceFigures,
  ) {
    this.#guest = guest;
    this.#grant = grant;
    this.#channels = channels;
    this.#figures = figures;
    this.#unsent = makeBitmap(guest.memory.pages);
    this.#harvested = makeBitmap(guest.memory.pages);
    for (let page = 0; page < guest.memory.pages; page++) setBit(this.#unsent, page);
  }

  /** The round that is sent next. */
  get number(): number {
    return this.#sent;
  }

  get unsentPages(): number {
    return popcount(this.#unsent);
  }

  /** Pages the target will lack when it runs; undefined when it will lack none. */
  get missing(): Uint32Array | undefined {
    return this.#missing;
  }

  get digest(): string {
    return this.#digest;
  }

  /** @param pageHost by which the target reaches the page channels */
  offer(pageHost: string): Message<'offer'> {
    const { pages, harts } = this.#guest.memory;
    const { pagePorts, faultsPort, readKey } = this.#channels;
    return {
      type: 'offer',
      pages,
      harts,
      stateVersion: stateVersion(this.#grant.spec.kind),
      pageHost,
      pagePorts: [...pagePorts],
      faultsPort,
      readKey,
    };
  }

  /** One round while the guest runs. A post-copy migration sends nothing and only reports. */
  async send(): Promise<RoundReport> {
    const { migration, mode } = this.#grant;
    await this.#harvest();
    if (mode === 'postcopy') return this.#figures.emptyRound(migration, this.unsentPages);
    const result = await this.#sendUnsent(this.unsentPages);
    const remaining = this.#guest.countDirty() + this.unsentPages;
    return this.#figures.round(migration, result, remaining);
  }

  /**
   * Stops the harts; then begins to send what is left, or withholds it for post-copy, and makes ready what
   * the HANDOVER says. Resolves to whether nothing will be missing.
   */
  async stopAndSendRest(mustComplete: boolean): Promise<boolean> {
    await this.#guest.stopHarts();
    this.#figures.stopped(fromHrtime(runTimes(this.#guest.memory).stoppedNs));
    await this.#harvest();
    if (mustComplete) this.#rest = this.#sendRest();
    else if (this.unsentPages > 0) this.#missing = this.#unsent.slice();
    // Whoever waits for the rest hears of it; nobody does when the stop itself fails first.
    this.#rest.catch(() => {});
    this.#state = this.#guest.captureState();
    // The channel threads hash, and they are carrying pages.
    if (this.#grant.verify) await this.#rest;
    await this.#digestFrozen();
    return this.#missing === undefined;
  }

  /** Resolves when the last pages have landed, to whether the manifest is another than the HANDOVER's. */
  async restSent(): Promise<boolean> {
    return (await this.#rest) > 1;
  }

  handover(epoch: number): Message<'handover'> {
    const { pages } = this.#guest.memory;
    const missing = this.#missing;
    return {
      type: 'handover',
      epoch,
      manifest: this.#manifest,
      missing: missing ? new Uint8Array(missing.buffer, 0, Math.ceil(pages / 8)) : NOTHING,
      missingPages: missing ? popcount(missing) : 0,
      state: this.#state,
      digest: this.#digest,
      pageHashes: missing && this.#hashes ? new Uint8Array(this.#hashes.buffer) : NOTHING,
      stoppedNs: this.#figures.stoppedNs,
    };
  }

  /** How far the transfer has come, for people. */
  progress(): Message<'progress'> {
    const { pagesSent, bytesSent: bytes } = this.#channels.progress();
    return {
      type: 'progress',
      migration: this.#grant.migration,
      round: this.number,
      pagesSent,
      pagesTotal: this.#guest.memory.pages,
      bytes,
      bytesPerS: this.#figures.rate(bytes),
      faults: 0,
      remainingPages: this.unsentPages,
    };
  }

  async #sendRest(): Promise<number> {
    let passes = 0;
    let left = this.unsentPages;
    this.#figures.restOf(left);
    for (; left > 0; passes++, left = this.unsentPages) {
      this.#figures.add(await this.#sendUnsent(left));
    }
    if (passes > 0) this.#figures.lastPagesSent();
    return passes;
  }

  async #harvest(): Promise<void> {
    const pages = await this.#guest.harvest(this.#harvested);
    if (pages > 0) orInto(this.#unsent, this.#harvested);
  }

  /** Sends what is unsent as one round; what a dying channel did not land is unsent again. */
  async #sendUnsent(pages: number): Promise<RoundResult> {
    const { touched } = this.#guest.dirtyLog;
    // The channels copy the maps before this returns.
    const sending = this.#channels.sendRound(this.#sent, this.#unsent, this.key, touched);
    this.#manifest[this.#sent] = pages;
    this.#unsent.fill(0);
    const result = await sending;
    this.#channels.takeRequeued(this.#unsent);
    this.#manifest[this.#sent] = result.pages;
    this.#sent += 1;
    return result;
  }

  /** Of the machine state, and with --verify of every page, while nothing writes any more. */
  async #digestFrozen(): Promise<void> {
    if (this.#grant.verify) {
      const startedNs = nowNs();
      this.#hashes = await this.#channels.hashPages(null);
      this.#figures.verified(nowNs() - startedNs);
    }
    this.#digest = handoverDigest(this.#state, this.#hashes, this.#missing);
  }
}
