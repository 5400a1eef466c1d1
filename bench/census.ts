/**
 * Who executes a guest, seen from outside: asks every agent itself, many times a second, how far its
 * copy of the guest has got.
 *
 *   agents --GET /v1/guests/NAME/pulse--> [census] --> two owners at once, or none of them
 *
 * What an agent says it runs is no evidence; that a count of work grew between two answers is. An
 * advance is an interval: at some moment between asking the first time and hearing the second answer
 * the guest executed there. Epochs only rise, so at an instant at which a copy of a higher epoch is
 * known to have executed, every lower one must have stood still for good: an advance that lies wholly
 * after one of a higher epoch elsewhere is two guests, and so are two hosts under one epoch.
 */
import type { Cluster } from './cluster.ts';

const PERIOD_MS = 25;
/** A stopped process answers nothing; the next question goes out on a connection of its own. */
const ANSWER_LIMIT_MS = 500;

interface Pulse {
  epoch: number;
  running: boolean;
  instructions: number;
}

interface Sight {
  readonly instructions: number;
  readonly askedAtMs: number;
}

/** The guest executed at `host` under `epoch` at some moment of the interval. */
export interface Advance {
  readonly host: string;
  readonly epoch: number;
  readonly fromMs: number;
  readonly toMs: number;
}

export class Census {
  /** First and newest advance of each (host, epoch): all that the comparison needs. */
  readonly #first = new Map<string, Advance>();
  readonly #newest = new Map<string, Advance>();
  readonly #sights = new Map<string, Sight>();
  readonly #cluster: Cluster;
  readonly #guest: string;
  readonly #loops: Promise<void>[];
  #isOpen = true;

  constructor(cluster: Cluster, guest: string) {
    this.#cluster = cluster;
    this.#guest = guest;
    this.#loops = [...cluster.hosts.keys()].map((host) => this.#watch(host));
  }

  /** Where the guest was seen to execute since `sinceMs` (performance.now()). */
  since(sinceMs: number): Advance[] {
    return [...this.#newest.values()].filter((advance) => advance.fromMs >= sinceMs);
  }

  /** @throws Error when two hosts executed the guest at once */
  check(): void {
    for (const older of this.#newest.values()) {
      for (const newer of this.#first.values()) {
        if (older.host === newer.host || older.epoch > newer.epoch) continue;
        if (older.epoch === newer.epoch || older.fromMs > newer.toMs) {
          throw new Error(
            `two hosts ran it: ${older.host} under epoch ${older.epoch} after ${newer.host} under epoch ${newer.epoch}`,
          );
        }
      }
    }
  }

  async close(): Promise<void> {
    this.#isOpen = false;
    await Promise.all(this.#loops);
  }

  async #watch(host: string): Promise<void> {
    while (this.#isOpen) {
      const askedAtMs = performance.now();
      const pulse = await this.#ask(host);
      if (pulse !== undefined) this.#take(host, pulse, askedAtMs);
      await new Promise((resolve) => setTimeout(resolve, PERIOD_MS));
    }
  }

  #take(host: string, { epoch, running, instructions }: Pulse, askedAtMs: number): void {
    const key = `${host} ${epoch}`;
    const last = this.#sights.get(key);
    // A state that is adopted makes the count jump too, in a copy that does not run yet.
    if (!running) {
      this.#sights.delete(key);
      return;
    }
    this.#sights.set(key, { instructions, askedAtMs });
    if (last === undefined || instructions <= last.instructions) return;
    const advance = { host, epoch, fromMs: last.askedAtMs, toMs: performance.now() };
    this.#newest.set(key, advance);
    if (!this.#first.has(key)) this.#first.set(key, advance);
  }

  async #ask(host: string): Promise<Pulse | undefined> {
    try {
      const url = `http://${this.#cluster.controlAddress(host)}/v1/guests/${this.#guest}/pulse`;
      const response = await fetch(url, {
        signal: AbortSignal.timeout(ANSWER_LIMIT_MS),
      });
      return response.ok ? ((await response.json()) as Pulse) : undefined;
    } catch {
      return undefined; // it is dead, or stands still
    }
  }
}
