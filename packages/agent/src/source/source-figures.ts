/**
 * The figures of one migration as the source measures them: rounds, rates, downtime by step.
 *
 *   stop asked -> harts stopped -> handed over -> last pages out -> landed -> RUN -> first instruction
 *       stop            state           lastPages           landed           run
 *
 * HANDOVER overtakes the last pages; with --verify, whose hashing needs the channel threads, they come
 * first. Downtime is from the last instruction here to the first at the target (design rule 7), two stamps
 * that the harts' own threads take; `stop` comes before it and is shown beside it. The time --verify
 * needs is shown apart and is no step.
 */
import type { DowntimeSteps, Message, RoundReport } from '@godwit/protocol';
import { OFFERED_DEADLINE_MS, PAGE_BYTES } from '@godwit/protocol';
import { type ClockOffset, nowNs } from '../migration/clock.ts';

/** What one pass over a bitmap gave (source-channels.ts). */
export interface PassResult {
  round: number;
  pages: number;
  zeroPages: number;
  wireBytes: number;
  copiedBytes: number;
  durationMs: number;
}

/** What the channel threads have counted since the start. */
export interface ChannelTotals {
  pagesSent: number;
  zeroPages: number;
  bytesSent: number;
  copiedBytes: number;
}

/** Weight of the newest round in the smoothed bandwidth. */
const SMOOTHING = 0.5;
/** A pass shorter than this says more of latency than of bandwidth. */
const MEASURED_PAGES_MIN = 256;
/** How many times longer than expected the last pages, and the target's hashing, may take. */
const SLACK = 3;

export class SourceFigures {
  #beganNs = 0;
  #roundEndNs = 0;
  #bandwidth = 0;
  #transferMs = 0;
  #passes = 0;
  #stopAskedNs = 0;
  #restPages = 0;
  #lastPagesNs = 0;
  #verifyNs = 0;
  #handedNs = 0;
  #landedNs = 0;
  #runNs = 0;
  #firstInstructionNs = 0;
  #clockOffsetNs = 0;
  #clockErrorNs = 0;
  #pushNs = 0;
  #rateAtNs = 0;
  #rateBytes = 0;
  stoppedNs = 0;

  begin(): void {
    this.#beganNs = nowNs();
    this.#roundEndNs = this.#beganNs;
  }

  /** A round of a post-copy migration sends nothing; it only asks for the decision. */
  emptyRound(migration: string, remainingPages: number): RoundReport {
    const report = {
      migration,
      round: 0,
      pages: 0,
      zeroPages: 0,
      bytes: 0,
      copiedBytes: 0,
      durationMs: 0,
      remainingPages,
      dirtyBytesPerS: 0,
      bandwidthBytesPerS: 0,
    };
    this.#roundEndNs = nowNs();
    return report;
  }

  /** @param remainingPages dirty at the round's end; all of them since its harvest */
  round(migration: string, pass: PassResult, remainingPages: number): RoundReport {
    this.add(pass);
    const sinceMs = (nowNs() - this.#roundEndNs) / 1e6;
    this.#roundEndNs = nowNs();
    return {
      migration,
      round: pass.round,
      pages: pass.pages,
      zeroPages: pass.zeroPages,
      bytes: pass.wireBytes,
      copiedBytes: pass.copiedBytes,
      durationMs: pass.durationMs,
      remainingPages,
      dirtyBytesPerS: sinceMs > 0 ? (remainingPages * PAGE_BYTES * 1000) / sinceMs : 0,
      bandwidthBytesPerS: this.#bandwidth,
    };
  }

  add(pass: PassResult): void {
    this.#transferMs += pass.durationMs;
    this.#passes += 1;
    // Bytes that went: a page of zeros takes no time on the link, and what remains will not be zeros.
    const rate = pass.durationMs > 0 ? (pass.wireBytes * 1000) / pass.durationMs : 0;
    if (this.#bandwidth === 0) this.#bandwidth = rate;
    else if (pass.pages - pass.zeroPages >= MEASURED_PAGES_MIN)
      this.#bandwidth += SMOOTHING * (rate - this.#bandwidth);
  }

  stopRequested(): void {
    this.#stopAskedNs = nowNs();
  }

  /** @param lastInstructionNs stamped by the hart that stopped last */
  stopped(lastInstructionNs: number): void {
    this.stoppedNs = Math.max(lastInstructionNs, this.#stopAskedNs);
  }

  /** The last round begins. */
  restOf(pages: number): void {
    this.#restPages = pages;
  }

  lastPagesSent(): void {
    this.#lastPagesNs = nowNs();
  }

  verified(durationNs: number): void {
    this.#verifyNs += durationNs;
  }

  handedOver(): void {
    this.#handedNs = nowNs();
  }

  landed(): void {
    this.#landedNs = nowNs();
  }

  runSent(): void {
    this.#runNs = nowNs();
  }

  running(clock: ClockOffset, message: Message<'peerRunning'>): void {
    if (this.#firstInstructionNs !== 0) return;
    this.#firstInstructionNs = clock.toOurs(message.firstInstructionNs);
    this.#clockOffsetNs = clock.offsetNs;
    this.#clockErrorNs = Number.isFinite(clock.errorNs) ? clock.errorNs : 0;
  }

  /** How long so many pages may take at the measured rate; for deadlines. */
  expectedMs(pages: number): number {
    return this.#bandwidth > 0 ? (pages * PAGE_BYTES * 1000) / this.#bandwidth : 0;
  }

  get verifyMs(): number {
    return this.#verifyNs / 1e6;
  }

  /** For the answer to a HANDOVER: the pages it overtook must land, and be hashed as here. */
  get offerDeadlineMs(): number {
    return OFFERED_DEADLINE_MS + SLACK * (this.expectedMs(this.#restPages) + this.verifyMs);
  }

  /** Bytes a second since the last call; for progress. */
  rate(bytesSoFar: number): number {
    const now = nowNs();
    const seconds = (now - this.#rateAtNs) / 1e9;
    const rate = this.#rateAtNs === 0 ? 0 : Math.max(0, (bytesSoFar - this.#rateBytes) / seconds);
    this.#rateAtNs = now;
    this.#rateBytes = bytesSoFar;
    return rate;
  }

  /** The guest runs at the target, and what it misses is pushed from now on. */
  pushing(): void {
    if (this.#pushNs === 0) this.#pushNs = nowNs();
  }

  /** @param totals of rounds, push and answered faults, counted by the channel threads */
  result(totals: ChannelTotals): Omit<Message<'freed'>, 'type' | 'migration' | 'guest' | 'epoch'> {
    const now = nowNs();
    const first = this.#firstInstructionNs || now;
    return {
      rounds: this.#passes,
      pages: totals.pagesSent,
      zeroPages: totals.zeroPages,
      bytes: totals.bytesSent,
      copiedBytes: totals.copiedBytes,
      transferMs: this.#transferMs + (this.#pushNs === 0 ? 0 : (now - this.#pushNs) / 1e6),
      totalMs: (now - this.#beganNs) / 1e6,
      downtimeMs: Math.max(0, (first - this.stoppedNs) / 1e6),
      steps: this.#steps(first),
      clockOffsetMs: this.#clockOffsetNs / 1e6,
      clockErrorMs: this.#clockErrorNs / 1e6,
      verifyMs: this.verifyMs,
    };
  }

  #steps(firstInstructionNs: number): DowntimeSteps {
    const ms = (from: number, to: number) => Math.max(0, (to - from) / 1e6);
    const [stopped, handed, landed] = [this.stoppedNs, this.#handedNs, this.#landedNs];
    // That the last of them landed may be heard here after LANDED, on another thread.
    const pages = this.#lastPagesNs === 0 ? stopped : Math.min(this.#lastPagesNs, landed);
    const [first, second] = pages < handed ? [pages, handed] : [handed, pages];
    const [lastPagesMs, stateMs] =
      pages < handed
        ? [ms(stopped, first), ms(first + this.#verifyNs, second)]
        : [ms(first, second), ms(stopped, first)];
    return {
      stopMs: ms(this.#stopAskedNs, stopped),
      lastPagesMs,
      stateMs,
      landedMs: ms(second, landed),
      runMs: ms(this.#runNs || landed, firstInstructionNs),
    };
  }
}
