/**
 * The packet layer of GDB's remote serial protocol ("Overview" in GDB's manual, appendix "GDB Remote
 * Serial Protocol"): framing, checksums, escapes, acknowledgements.
 *
 * socket -> [packet reader] -> packets, acknowledgements, interrupts -> session -> [encode] -> socket
 *
 *   $payload#cc      cc: sum of the payload's bytes as sent, modulo 256, two hex digits
 *   + -              the last packet came well, or came damaged
 *   0x03             interrupt, between packets only
 *   } in a payload   the next byte is meant, xor 0x20
 *
 * The bytes come from whoever found the port: what is longer than PACKET_BYTES_MAX ends the connection,
 * and nothing that was not asked for is kept.
 */

/** Payload bytes as sent: a memory read or write of 8 KiB in hex. Announced in qSupported. */
export const PACKET_BYTES_MAX = 16_384;

export type Received =
  /** `ok` false: damaged on the way; only an acknowledging client can have it sent again. */
  | { readonly is: 'packet'; readonly payload: Buffer; readonly ok: boolean }
  | { readonly is: 'repeat' }
  | { readonly is: 'interrupt' };

const DOLLAR = 0x24;
const HASH = 0x23;
const MINUS = 0x2d;
const ESCAPE = 0x7d;
const ESCAPE_XOR = 0x20;
const INTERRUPT = 0x03;

export class PacketTooLong extends Error {
  override readonly name = 'PacketTooLong';
}

/** Cuts a stream of bytes into what they mean. */
export class PacketReader {
  readonly #raw = Buffer.alloc(PACKET_BYTES_MAX);
  #length = 0;
  /** Bytes of `$...#cc` still to come: the payload, or one or two digits of the checksum. */
  #expects: 'start' | 'payload' | 'high' | 'low' = 'start';
  #checksum = '';

  /** @throws PacketTooLong; the stream is of no use then */
  *take(bytes: Uint8Array): Generator<Received> {
    for (const byte of bytes) {
      const received = this.#byte(byte);
      if (received !== undefined) yield received;
    }
  }

  #byte(byte: number): Received | undefined {
    switch (this.#expects) {
      case 'start':
        return this.#between(byte);
      case 'payload':
        this.#inPayload(byte);
        return undefined;
      case 'high':
        this.#checksum = String.fromCharCode(byte);
        this.#expects = 'low';
        return undefined;
      case 'low':
        this.#checksum += String.fromCharCode(byte);
        this.#expects = 'start';
        return this.#packet();
    }
  }

  /** Noise between packets is ignored, as the manual wants. */
  #between(byte: number): Received | undefined {
    if (byte === DOLLAR) {
      this.#length = 0;
      this.#expects = 'payload';
    }
    if (byte === MINUS) return { is: 'repeat' };
    if (byte === INTERRUPT) return { is: 'interrupt' };
    return undefined;
  }

  #inPayload(byte: number): void {
    if (byte === HASH) {
      this.#expects = 'high';
    } else if (byte === DOLLAR) {
      this.#length = 0; // A new packet: the end of the one before was lost.
    } else {
      if (this.#length === PACKET_BYTES_MAX) throw new PacketTooLong();
      this.#raw[this.#length++] = byte;
    }
  }

  #packet(): Received {
    const raw = this.#raw.subarray(0, this.#length);
    const ok = /^[0-9a-fA-F]{2}$/.test(this.#checksum) && hex8(sum(raw)) === lower(this.#checksum);
    return { is: 'packet', payload: ok ? withoutEscapes(raw) : Buffer.alloc(0), ok };
  }
}

/** A payload as it goes over the wire. */
export function encodePacket(payload: string): Buffer {
  const escaped = payload.replace(
    /[$#}*]/g,
    (char) => `}${String.fromCharCode(char.charCodeAt(0) ^ ESCAPE_XOR)}`,
  );
  const bytes = Buffer.from(escaped, 'latin1');
  return Buffer.concat([Buffer.from('$'), bytes, Buffer.from(`#${hex8(sum(bytes))}`)]);
}

function withoutEscapes(raw: Buffer): Buffer {
  const bytes = Buffer.alloc(raw.length);
  let length = 0;
  for (let i = 0; i < raw.length; i++) {
    const escaped = raw[i] === ESCAPE && i + 1 < raw.length;
    bytes[length++] = escaped ? raw[++i]! ^ ESCAPE_XOR : raw[i]!;
  }
  return bytes.subarray(0, length);
}

function sum(bytes: Uint8Array): number {
  let total = 0;
  for (const byte of bytes) total = (total + byte) & 0xff;
  return total;
}

function hex8(value: number): string {
  return value.toString(16).padStart(2, '0');
}

function lower(text: string): string {
  return text.toLowerCase();
}
