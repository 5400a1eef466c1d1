/**
 * The source's side of a channel's opening: listen, and let in whoever presents the capability.
 *
 *   socket after the handshake -> first frame ATTACH, capability and generation right -> attached
 *
 * The source says nothing before that. Several connections may knock at once; each has
 * CONNECT_DEADLINE_MS to show its ATTACH. A generation above the last replaces the attached socket:
 * the target dials anew only when nothing of the old one can land any more. Channel thread only.
 */
import type { Socket } from 'node:net';
import {
  CAPABILITY_CHARS,
  CONNECT_DEADLINE_MS,
  type FrameHeader,
  GodwitError,
  OPCODE,
} from '@godwit/protocol';
import { timingSafeEqual } from './builtin.ts';
import { closeError, closePayload } from './close-codes.ts';
import { FrameWriter } from './frame-writer.ts';
import { type ChannelListener, listenForChannel } from './handshake.ts';
import { RequestReader } from './request-reader.ts';
import { takeOffPacing } from './unpaced.ts';

export interface AdmissionOptions {
  readonly kind: 'pages' | 'faults';
  readonly migration: string;
  readonly capability: string;
  readonly channel: number;
  readonly host: string;
  readonly ports: { readonly from: number; readonly to: number } | null;
}

/** One attached socket. */
export interface AttachedSocket {
  readonly writer: FrameWriter;
  readonly generation: number;
  /** The last frame of the generation before that landed: its end is known on both sides. */
  readonly landedBefore: number;
}

export interface AdmissionEvents {
  /** A new generation; the one before it has been reported as lost. */
  readonly attached: (socket: AttachedSocket) => void;
  /** A frame of the attached socket; a throw closes it with that error. */
  readonly frame: (header: FrameHeader, payload: Buffer) => void;
  /** The attached socket is gone. `error` is set when dialling again would not help. */
  readonly lost: (error: GodwitError | null) => void;
}

export class Admission {
  readonly #options: AdmissionOptions;
  readonly #events: AdmissionEvents;
  readonly #capability: Buffer;
  #listener: ChannelListener | null = null;
  #current: AttachedSocket | null = null;
  #generation = 0;

  constructor(options: AdmissionOptions, events: AdmissionEvents) {
    this.#options = options;
    this.#events = events;
    this.#capability = Buffer.from(options.capability.padEnd(CAPABILITY_CHARS), 'latin1');
  }

  /** @returns the port */
  async listen(): Promise<number> {
    const { kind, migration, host, ports } = this.#options;
    const path = `/v1/${kind}/${migration}`;
    const onSocket = (socket: Socket, head: Buffer) => this.#knock(socket, head);
    this.#listener = await listenForChannel({ host, ports, path, onSocket });
    return this.#listener.port;
  }

  /** Says goodbye, then cuts everything; resolved when no queued write is left. */
  async close(): Promise<void> {
    this.#current?.writer.close(closePayload(null));
    this.#current = null;
    await this.#listener?.close();
  }

  /** Cuts the attached socket because the peer broke a rule; reported as lost with the error. */
  refuse(error: GodwitError): void {
    if (this.#current !== null) this.#drop(this.#current, error);
  }

  #knock(socket: Socket, head: Buffer): void {
    const writer = new FrameWriter(socket, false);
    let mine: AttachedSocket | null = null;
    const deadline = setTimeout(() => socket.destroy(), CONNECT_DEADLINE_MS);
    const fail = (error: GodwitError | null) => {
      if (mine !== null && mine === this.#current) this.#drop(mine, error);
      else writer.close(closePayload(error));
    };
    const reader = new RequestReader(this.#options.kind, {
      frame: (header, payload) => {
        if (mine === null) {
          mine = this.#attach(header, payload, writer);
          clearTimeout(deadline);
          this.#events.attached(mine);
        } else if (mine === this.#current) this.#events.frame(header, payload);
      },
      ping: (payload) => writer.pong(payload),
      closed: (payload) => fail(closeError(payload, this.#options.channel)),
      failed: fail,
    });
    socket.on('data', (chunk) => reader.feed(chunk));
    // node:http leaves its sockets half open; a target that has ended its half has gone.
    socket.once('end', () => socket.destroy());
    socket.once('close', () => {
      clearTimeout(deadline);
      if (mine !== null && mine === this.#current) this.#drop(mine, null);
    });
    if (head.length > 0) reader.feed(head);
  }

  #attach(header: FrameHeader, payload: Buffer, writer: FrameWriter): AttachedSocket {
    const { migration, channel } = this.#options;
    if (header.opcode !== OPCODE.ATTACH) {
      throw new GodwitError('wire.bad_frame', { why: 'the first frame must be ATTACH' });
    }
    if (!timingSafeEqual(payload, this.#capability) || header.firstPage !== channel) {
      throw new GodwitError('peer.capability', { migration });
    }
    const generation = header.round;
    if (generation <= this.#generation) {
      throw new GodwitError('wire.bad_frame', { why: `generation ${generation} is not the next` });
    }
    if (this.#current !== null) this.#drop(this.#current, null);
    this.#generation = generation;
    takeOffPacing(writer.socket);
    this.#current = { writer, generation, landedBefore: header.sequence };
    return this.#current;
  }

  #drop(socket: AttachedSocket, error: GodwitError | null): void {
    this.#current = null;
    if (error !== null) socket.writer.close(closePayload(error));
    else socket.writer.socket.destroy();
    this.#events.lost(error);
  }
}
