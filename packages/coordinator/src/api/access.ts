/**
 * Who may speak to this coordinator.
 *
 * With a cluster token: whoever carries it, from anywhere. Without one: whoever is on this machine,
 * which is why such a coordinator listens on loopback addresses only. A browser on this machine
 * carries other people's pages, so requests with a foreign Origin are refused, and without a token
 * so are those for a host name that is not a loopback one (DNS rebinding).
 */
import { createHash, timingSafeEqual } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import { isIPv4 } from 'node:net';
import { GodwitError } from '@godwit/protocol';

export interface Listen {
  readonly host: string;
  readonly port: number;
}

/** @throws GodwitError `request.invalid` unless it is HOST:PORT */
export function parseListen(text: string): Listen {
  const match = /^(?:\[([^\]]+)\]|([^:]+)):(\d{1,5})$/.exec(text);
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3]);
  if (host === undefined || !(port <= 65_535)) {
    throw new GodwitError('request.invalid', { why: `--listen ${text}: not HOST:PORT` });
  }
  return { host, port };
}

/** @throws GodwitError `auth.loopback_only` */
export function checkListen({ host }: Listen, token: string | undefined): void {
  if (token === undefined && !isLoopback(host)) {
    throw new GodwitError('auth.loopback_only', { address: host });
  }
}

export class Access {
  readonly #expected: Buffer | undefined;

  constructor(token: string | undefined) {
    this.#expected = token === undefined ? undefined : digest(token);
  }

  /** @throws GodwitError `auth.token` */
  check({ authorization, origin, host = '' }: IncomingHttpHeaders): void {
    if (origin !== undefined && hostOf(origin) !== host) {
      throw new GodwitError('auth.token', { why: `a page of ${origin} may not speak here` });
    }
    if (this.#expected === undefined) {
      if (isLoopback(host.replace(/:\d+$/, '').replace(/^\[|\]$/g, ''))) return;
      throw new GodwitError('auth.token', {
        why: `${host} is not this machine, and no token is set`,
      });
    }
    const given = /^Bearer (.+)$/.exec(authorization ?? '')?.[1];
    if (given === undefined) throw new GodwitError('auth.token', { why: 'none was given' });
    // Digests have one length, so the comparison tells nothing of the token's.
    if (!timingSafeEqual(digest(given), this.#expected)) {
      throw new GodwitError('auth.token', { why: 'it is not the one of this cluster' });
    }
  }
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || (isIPv4(host) && host.startsWith('127.'));
}

function hostOf(origin: string): string {
  return URL.canParse(origin) ? new URL(origin).host : '';
}

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
