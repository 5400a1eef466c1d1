/**
 * One page channel at the target: what lands, and what is said back.
 *
 *   socket -> landing reader -> [landing channel] -> placement; CREDIT and BARRIER go back
 *
 * Runs in a thread of its own (landing.worker.ts). Credit is cumulative and sent in large parts, not
 * for every small frame; a barrier goes back as soon as it is read, because all frames before it on this
 * channel have landed by then.
 */
import type { GuestMemory } from '@godwit/machine';
import {
  emptyHeader,
  FRAME_PAYLOAD_BYTES_MAX,
  type FrameHeader,
  GodwitError,
  OPCODE,
} from '@godwit/protocol';
import { yieldProcessor } from '../channel/background.ts';
import { closeError } from '../channel/close-codes.ts';
import type { Counters } from '../channel/counters.ts';
import type { FrameWriter } from '../channel/frame-writer.ts';
import { ReceiveLowWater } from '../channel/receive-low-water.ts';
import type { RegionTable } from '../channel/regions.ts';
import type { LandingBoard } from './landing-board.ts';
import { LandingReader } from './landing-reader.ts';
import { Placement } from './placement.ts';
import type { RoundGate } from './round-gate.ts';
import { TargetLink } from './target-link.ts';

/** Credit goes back for every full frame, of which the source keeps few under way, and for several small ones. */
const CREDIT_EVERY_BYTES = FRAME_PAYLOAD_BYTES_MAX / 2;
/** What this end says is small and rare: more of it queued means that the source does not read. */
const REPLY_BYTES_MAX = 65_536;

export interface LandingChannelOptions {
  readonly guest: GuestMemory;
  readonly regions: RegionTable;
  readonly board: LandingBoard;
  readonly gate: RoundGate;
  readonly counters: Counters;
  readonly migration: string;
  readonly capability: string;
  readonly channel: number;
  readonly host: string;
  readonly port: number;
  readonly onFailed: (error: GodwitError) => void;
  readonly onAllPresent: () => void;
  /** Every channel has landed all of a round; this was the last of them, or one of those that came together. */
  readonly onRoundEnded: () => void;
  readonly onWrongPage: (page: number) => void;
}

export class LandingChannel {
  readonly #options: LandingChannelOptions;
  readonly #placement: Placement;
  readonly #link: TargetLink;
  readonly #header = emptyHeader();
  /** Last frame that landed, of this socket and of the one before. */
  #landedSequence = 0;
  #landedBefore = 0;
  #bytesSinceCredit = 0;

  constructor(options: LandingChannelOptions) {
    this.#options = options;
    this.#placement = new Placement(options);
    this.#link = new TargetLink({
      ...options,
      kind: 'pages',
      makeReader: (writer) => this.#makeReader(writer),
      nextGeneration: () => options.board.nextGeneration(options.channel),
      onAttached: () => {},
      landedBefore: () => this.#landedBefore,
      patient: () => options.board.inPostcopy,
      onLost: () => {},
    });
  }

  connect(): Promise<void> {
    return this.#link.connect();
  }

  close(): Promise<void> {
    return this.#link.close();
  }

  /**
   * The key has been revoked: once this returns no byte under it can land through this channel. A frame
   * that is half there breaks the channel.
   */
  cutOff(key: number): void {
    const reader = this.#link.reader;
    if (reader === null || !reader.isPlacing(key)) return;
    const { channel } = this.#options;
    this.#link.cutOff(new GodwitError('channel.protection', { channel, key, why: 'revoked' }));
  }

  #makeReader(writer: FrameWriter): LandingReader {
    const { guest, channel, counters, board } = this.#options;
    const placement = this.#placement;
    const lowWater = new ReceiveLowWater(writer.socket);
    this.#landedBefore = this.#landedSequence;
    this.#landedSequence = 0;
    this.#bytesSinceCredit = 0;
    return new LandingReader('pages', {
      ram: guest.ram(),
      admit: (header) => placement.admit(header),
      admitRun: (header, first, pages) => placement.admitRun(header, first, pages),
      stillAdmitted: () => placement.stillAdmitted(),
      writes: (first, pages) => board.markWritten(first, pages),
      zeros: (first, pages) => placement.zeros(first, pages),
      takesAll: () => placement.takesAll(),
      claim: (page) => placement.claim(page),
      landed: (page) => placement.landed(page),
      unclaim: (page) => placement.unclaim(page),
      finish: () => placement.finish(),
      due: (bytes) => lowWater.due(bytes),
      copied: (bytes) => counters.add(channel, 'copiedBytes', bytes),
      frameLanded: (header, bytes) => this.#frameLanded(header, bytes, writer),
      barrier: (header) => this.#barrier(header, writer),
      ping: (payload) => writer.pong(payload),
      closed: (payload) => this.#link.peerClosed(closeError(payload, channel)),
      failed: (error) => this.#link.fail(error),
    });
  }

  #frameLanded(header: FrameHeader, wireBytes: number, writer: FrameWriter): void {
    const { board, counters, channel } = this.#options;
    this.#landedSequence = header.sequence;
    const pushed = this.#placement.landing;
    if (pushed) yieldProcessor();
    else board.countRound(header.round, header.pages);
    counters.add(channel, 'pages', header.pages);
    counters.add(channel, 'wireBytes', wireBytes);
    if (header.opcode === OPCODE.ZERO) counters.add(channel, 'zeroPages', header.pages);
    this.#bytesSinceCredit += wireBytes;
    // A pushed frame may be the only one the source allows itself until it is heard of.
    if (pushed || this.#bytesSinceCredit >= CREDIT_EVERY_BYTES) this.#credit(writer);
  }

  #credit(writer: FrameWriter): void {
    this.#bytesSinceCredit = 0;
    const header = this.#header;
    header.opcode = OPCODE.CREDIT;
    header.round = 0;
    header.key = 0;
    header.sequence = this.#landedSequence;
    this.#reply(writer);
  }

  #barrier(barrier: FrameHeader, writer: FrameWriter): void {
    const { gate, channel, onRoundEnded } = this.#options;
    gate.barrier(channel, barrier.round);
    if (gate.openRound > barrier.round) onRoundEnded();
    this.#bytesSinceCredit = 0;
    const header = this.#header;
    header.opcode = OPCODE.BARRIER;
    header.round = barrier.round;
    header.key = barrier.key;
    this.#reply(writer);
  }

  #reply(writer: FrameWriter): void {
    if (writer.socket.writableLength > REPLY_BYTES_MAX) {
      throw new GodwitError('wire.bad_frame', { why: 'the source does not read what it is told' });
    }
    writer.small(this.#header);
  }
}
