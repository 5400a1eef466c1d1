/**
 * The one line in which moves wait, and who may start next.
 *
 *   waiting moves by their tags, running moves, limits --> [line] --> who starts, why the others wait
 *
 * Pure. Fair by tags (self-clocked fair queueing: Golestani, INFOCOM 1994): all moves of one drain are
 * one flow, those that people asked for are one for each priority. A flow's next move gets the tag
 * max(clock, the flow's last tag) + 1 / weight, the lowest tag starts first, and the clock is the
 * highest tag that has started. So a drain of a thousand guests does not stand before a single move, a
 * priority is a share and not a right of way, and each tag is reached: below it every flow has room
 * for finitely many.
 *
 * A move that waits for a slot of its hosts may be passed by those behind it, or slots would stay
 * empty, but at most PASSES_MAX times by moves that take a slot of those hosts. Then they are held
 * for it: the moves under way there end, and it starts.
 */
import type { MoveLimits, Priority } from '@godwit/protocol';
import { PASSES_MAX, PRIORITY_WEIGHTS } from './limits.ts';

/** The two hosts of a move. */
export interface Ends {
  readonly source: string;
  readonly target: string;
}

export interface Waiting extends Ends {
  readonly id: string;
  readonly tag: number;
  /** How often it was passed already. */
  readonly passed: number;
  /** It could not start whatever the limits; it stands aside and holds nobody up. */
  readonly hindered?: string | undefined;
}

export interface Admission {
  readonly start: readonly string[];
  /** Why each of the others waits, by id. */
  readonly reasons: ReadonlyMap<string, string>;
  /** Those that were passed, once for each move that took a slot they wait for. */
  readonly passed: ReadonlyMap<string, number>;
}

/** @param last the highest tag of that flow so far, started or waiting */
export function nextTag(clock: number, last: number | undefined, priority: Priority): number {
  return Math.max(clock, last ?? 0) + 1 / PRIORITY_WEIGHTS[priority];
}

/** Lowest tag first; ids decide between equals, so that the order is one order everywhere. */
export function inOrder<T extends { id: string; tag: number }>(line: readonly T[]): T[] {
  return line.toSorted((a, b) => a.tag - b.tag || (a.id < b.id ? -1 : 1));
}

/**
 * @param line in order
 * @param running moves that hold slots now
 */
export function admit(
  line: readonly Waiting[],
  running: readonly Ends[],
  limits: MoveLimits,
): Admission {
  const slots = new Slots(running, limits);
  const start: string[] = [];
  const reasons = new Map<string, string>();
  const passed = new Map<string, number>();
  const held = new Map<string, string>();
  /** Moves before this one that wait for a slot, by host. */
  const waitingAt = new Map<string, string[]>();
  for (const move of line) {
    const ends = [move.source, move.target];
    const holder = ends.map((host) => held.get(host)).find((id) => id !== undefined);
    const reason =
      move.hindered ??
      slots.why(move) ??
      (holder === undefined ? undefined : `its hosts are kept free for ${holder}, passed before`);
    if (reason === undefined) {
      slots.take(move);
      start.push(move.id);
      const overtaken = new Set(ends.flatMap((host) => waitingAt.get(host) ?? []));
      for (const id of overtaken) passed.set(id, (passed.get(id) ?? 0) + 1);
      // Holding begins within one look, or a single look could pass it any number of times.
      for (const before of line) {
        if (overtaken.has(before.id)) holdIfDue(before, passed, held);
      }
      continue;
    }
    reasons.set(move.id, reason);
    if (move.hindered !== undefined) continue;
    for (const host of ends) {
      const waiting = waitingAt.get(host) ?? [];
      waitingAt.set(host, waiting);
      waiting.push(move.id);
    }
    holdIfDue(move, passed, held);
  }
  return { start, reasons, passed };
}

function holdIfDue(
  move: Waiting,
  passed: ReadonlyMap<string, number>,
  held: Map<string, string>,
): void {
  if (move.passed + (passed.get(move.id) ?? 0) < PASSES_MAX) return;
  for (const host of [move.source, move.target]) if (!held.has(host)) held.set(host, move.id);
}

/** Slots in use. */
class Slots {
  readonly #limits: MoveLimits;
  readonly #byHost = new Map<string, number>();
  #all = 0;

  constructor(running: readonly Ends[], limits: MoveLimits) {
    this.#limits = limits;
    for (const move of running) this.take(move);
  }

  take({ source, target }: Ends): void {
    this.#all += 1;
    for (const host of [source, target]) this.#byHost.set(host, (this.#byHost.get(host) ?? 0) + 1);
  }

  /** Undefined: there is a slot for it. */
  why({ source, target }: Ends): string | undefined {
    const { perHost, perCluster } = this.#limits;
    const isFull = (host: string) => (this.#byHost.get(host) ?? 0) >= perHost;
    const full = [source, target].find(isFull);
    if (full !== undefined) {
      return `host ${full} has ${this.#byHost.get(full)} of ${perHost} moves under way`;
    }
    if (this.#all >= perCluster) return `${this.#all} of ${perCluster} moves are under way`;
    return undefined;
  }
}
