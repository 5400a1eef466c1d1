/**
 * Which host holds which image, and that a guest's host comes to hold the one it boots from.
 *
 *   agents --what they hold--> [images] --> guest commands (name -> digest -> who has it), API
 *   guests that came by a migration --> [images] --fetchImage--> their host
 *
 * Nothing is stored: agents say what they hold after each welcome. A guest moves without its image; it is
 * fetched afterwards, for the day it reboots.
 */
import { GodwitError, HOLDERS_MAX, type Image, type Message } from '@godwit/protocol';
import type { Agents, LiveHost } from './agents.ts';
import type { Logger } from './log.ts';
import type { Records } from './records.ts';

type Held = Message<'images'>['images'][number];

/** Guests that came to a host are looked at this often. */
const LOOK_MS = 2_000;
/** A host that could not fetch is asked again after this. */
const AGAIN_MS = 60_000;
/** A large image over a slow link; the agent goes on by itself, only its answer is not waited for. */
const FETCH_DEADLINE_MS = 30 * 60_000;

export class Images {
  readonly #records: Records;
  readonly #agents: Agents;
  readonly #log: Logger;
  /** By incarnation, so that what a dead process held is never its successor's. */
  readonly #held = new WeakMap<LiveHost, readonly Held[]>();
  /** "host digest" -> when it may be asked again; Infinity while it fetches. */
  readonly #asked = new Map<string, number>();
  readonly #ticker: NodeJS.Timeout;

  constructor(records: Records, agents: Agents, log: Logger) {
    this.#records = records;
    this.#agents = agents;
    this.#log = log;
    this.#ticker = setInterval(() => this.#look(), LOOK_MS);
  }

  close(): void {
    clearInterval(this.#ticker);
  }

  heard(live: LiveHost, { images }: Message<'images'>): void {
    this.#held.set(live, images);
  }

  /** Everything connected hosts hold, by digest. */
  list(): Image[] {
    const images = new Map<string, { names: Set<string>; hosts: string[] }>();
    for (const live of this.#connected()) {
      for (const { digest, names } of this.#held.get(live) ?? []) {
        const known = images.get(digest) ?? { names: new Set(), hosts: [] };
        for (const name of names) known.names.add(name);
        known.hosts.push(live.name);
        images.set(digest, known);
      }
    }
    return [...images]
      .map(([digest, { names, hosts }]) => ({ digest, names: [...names].sort(), hosts }))
      .sort((a, b) => (a.digest < b.digest ? -1 : 1));
  }

  /**
   * What a person means by a name or a digest.
   * @throws GodwitError `image.not_found`, `request.invalid`: hosts mean different images by this name
   */
  resolve(reference: string): string {
    const images = this.list();
    const meant = images.filter(
      ({ digest, names }) => names.includes(reference) || digest === reference,
    );
    if (meant.length === 1) return meant[0]!.digest;
    if (meant.length > 1) {
      const each = meant.map(({ digest, hosts }) => `${digest.slice(0, 12)} (${hosts.join(', ')})`);
      throw new GodwitError('request.invalid', {
        why: `hosts mean different images by ${reference}: ${each.join(', ')}; give the digest`,
      });
    }
    const known = [...new Set(images.flatMap(({ names }) => names))].sort().join(', ');
    throw new GodwitError('image.not_found', { image: reference, known });
  }

  /** Addresses of connected hosts that hold it, for a host that does not. */
  holders(digest: string, forHost: string): string[] {
    return this.#connected()
      .filter((live) => live.name !== forHost && this.#holds(live, digest))
      .map((live) => this.#agents.host(live.name).address)
      .slice(0, HOLDERS_MAX);
  }

  #connected(): LiveHost[] {
    return this.#records.hosts.values().flatMap(({ name }) => this.#agents.connected(name) ?? []);
  }

  #holds(live: LiveHost, digest: string): boolean {
    return this.#held.get(live)?.some((held) => held.digest === digest) === true;
  }

  /** Guests that run where their image is not: their host is asked to fetch it. */
  #look(): void {
    for (const { spec, host, state } of this.#records.guests.values()) {
      const digest = spec.imageDigest;
      const live = this.#agents.connected(host);
      if (digest === undefined || live === undefined || state !== 'running') continue;
      // Before it has said what it holds, it is not known to lack anything.
      if (!this.#held.has(live) || this.#holds(live, digest)) continue;
      const key = `${host} ${digest}`;
      const from = this.holders(digest, host);
      if (from.length === 0 || (this.#asked.get(key) ?? 0) > performance.now()) continue;
      this.#asked.set(key, Number.POSITIVE_INFINITY);
      void this.#ask(host, digest, from).finally(() =>
        this.#asked.set(key, performance.now() + AGAIN_MS),
      );
    }
  }

  async #ask(host: string, digest: string, from: string[]): Promise<void> {
    try {
      await this.#agents.request(host, { type: 'fetchImage', digest, from }, FETCH_DEADLINE_MS);
      this.#log.info({ host, digest }, 'image fetched for a guest that came');
    } catch (error) {
      this.#log.warn({ host, digest, err: error }, 'image not fetched; tried again later');
    }
  }
}
