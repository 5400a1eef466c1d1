/**
 * The life of one channel's connection at the target: dial, ATTACH, and dial again when it breaks.
 *
 *   idle -> dialling -> attached -> (socket closed) -> dialling ... -> ended | failed
 *
 * A new generation is dialled only after the old socket is closed and the reader has given up what it
 * was filling: the source takes the new ATTACH as proof that nothing of the old one can land any more.
 * An orderly close by the source ends the link; a broken rule fails it; neither is dialled again.
 * Thread of the channel only.
 */
import type { Socket } from 'node:net';
import {
  CHANNEL_GENERATIONS_MAX,
  emptyHeader,
  GodwitError,
  LINK_SILENCE_MS,
  OPCODE,
  RECONNECT_FIRST_MS,
  RECONNECT_MAX_MS,
} from '@godwit/protocol';
import { closePayload } from '../channel/close-codes.ts';
import { FrameWriter } from '../channel/frame-writer.ts';
import { dialChannel } from '../channel/handshake.ts';
import type { LandingReader } from './landing-reader.ts';

export interface TargetLinkOptions {
  readonly kind: 'pages' | 'faults';
  readonly host: string;
  readonly port: number;
  readonly migration: string;
  readonly capability: string;
  readonly channel: number;
  /** Counts the connections, of threads before this one too. */
  readonly nextGeneration: () => number;
  /** A reader for a new socket; frames begin with sequence 1 again. */
  readonly makeReader: (writer: FrameWriter) => LandingReader;
  readonly onAttached: (writer: FrameWriter) => void;
  /** The last frame of the old socket that landed. */
  readonly landedBefore: () => number;
  /** Post-copy: the guest runs here, and there is nothing better to do than to go on dialling. */
  readonly patient: () => boolean;
  /** The socket is closed and its reader ended; a new one is being dialled. */
  readonly onLost: () => void;
  readonly onFailed: (error: GodwitError) => void;
}

interface Attached {
  readonly socket: Socket;
  readonly writer: FrameWriter;
  readonly reader: LandingReader;
}

export class TargetLink {
  readonly #options: TargetLinkOptions;
  #generation = 0;
  #current: Attached | null = null;
  /** Set when the link is not to be dialled again. */
  #over = false;
  #retry: NodeJS.Timeout | undefined;
  #dialling: Promise<void> | null = null;

  constructor(options: TargetLinkOptions) {
    this.#options = options;
  }

  /**
   * The first connection of this thread. In post-copy it is dialled until it stands, like any other.
   *
   * @throws GodwitError `channel.refused`, `channel.early_data`
   */
  async connect(): Promise<void> {
    if (this.#options.patient()) void this.#redial(performance.now(), 0);
    else await this.#dial();
  }

  get writer(): FrameWriter | null {
    return this.#current?.writer ?? null;
  }

  get reader(): LandingReader | null {
    return this.#current?.reader ?? null;
  }

  /** The peer said that this is the end. */
  peerClosed(error: GodwitError | null): void {
    this.#over = true;
    this.#current?.socket.destroy();
    if (error !== null) this.#options.onFailed(error);
  }

  /** Ends the link because of an error the reader found; the peer is told, what it still sends is trash. */
  fail(error: GodwitError): void {
    if (this.#over) return;
    this.#over = true;
    this.#current?.writer.close(closePayload(error));
    this.#options.onFailed(error);
  }

  /**
   * Ends the link because of an error found outside of a read. The kernel may hold a view of guest
   * memory then, and would get another one only after filling it: nothing more is read.
   */
  cutOff(error: GodwitError): void {
    this.#current?.socket.pause();
    this.#current?.reader.fail(error);
  }

  /** Resolves when the socket is closed and the reader has ended. */
  async close(): Promise<void> {
    this.#over = true;
    clearTimeout(this.#retry);
    await this.#dialling?.catch(() => {});
    const current = this.#current;
    if (current === null) return;
    const closed = new Promise<void>((resolve) => current.socket.once('close', () => resolve()));
    current.socket.pause();
    current.socket.destroy();
    await closed;
  }

  async #dial(): Promise<void> {
    const { kind, host, port, migration } = this.#options;
    const path = `/v1/${kind}/${migration}`;
    const takeOver = (socket: Socket) => this.#takeOver(socket);
    this.#dialling = dialChannel({ host, port, path, takeOver }).then(() => {});
    try {
      await this.#dialling;
    } finally {
      this.#dialling = null;
    }
    const current = this.#current;
    if (current === null) return;
    this.#generation = this.#options.nextGeneration();
    this.#attach(current.writer);
    this.#options.onAttached(current.writer);
  }

  #takeOver(socket: Socket): LandingReader {
    const writer = new FrameWriter(socket, true);
    const reader = this.#options.makeReader(writer);
    this.#current = { socket, writer, reader };
    socket.once('close', () => this.#closed(reader));
    return reader;
  }

  #attach(writer: FrameWriter): void {
    const header = emptyHeader();
    header.opcode = OPCODE.ATTACH;
    header.round = this.#generation;
    header.firstPage = this.#options.channel;
    header.sequence = this.#options.landedBefore();
    writer.small(header, Buffer.from(this.#options.capability, 'latin1'));
  }

  #closed(reader: LandingReader): void {
    this.#current = null;
    reader.end();
    if (this.#over) return;
    this.#options.onLost();
    this.#redial(performance.now(), 0);
  }

  async #redial(lostAtMs: number, attempt: number): Promise<void> {
    const { channel } = this.#options;
    try {
      if (this.#generation >= CHANNEL_GENERATIONS_MAX && !this.#options.patient()) {
        throw new GodwitError('channel.lost', { channel, pagesUnacknowledged: 0 });
      }
      await this.#dial();
    } catch (thrown) {
      if (this.#over) return;
      const error = GodwitError.from(thrown);
      const silentMs = performance.now() - lostAtMs;
      const hopeless = error.code !== 'channel.refused';
      if (hopeless || (!this.#options.patient() && silentMs > LINK_SILENCE_MS))
        return this.fail(error);
      const pauseMs = Math.min(RECONNECT_FIRST_MS * 2 ** attempt, RECONNECT_MAX_MS);
      const jittered = pauseMs * (1 + Math.random() / 2);
      this.#retry = setTimeout(() => this.#redial(lostAtMs, attempt + 1), jittered);
    }
  }
}
