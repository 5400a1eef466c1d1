/**
 * How much memory of a host is nobody's: what it says is free, less what was promised and has not
 * arrived there yet.
 *
 *   heartbeats, moves (waiting, open), guests being made or just made --> [room] --> planner, checks, host ls
 *
 * A reservation an agent has made is in its free bytes, and it shows the guest in the same
 * heartbeat; until then the promise is counted here. So promises add up, and none counts twice.
 * Reading only.
 */
import type { Host } from '@godwit/protocol';
import type { AgentHost, Agents } from '../agents.ts';
import type { Records } from '../records.ts';
import type { Cordons } from './cordons.ts';
import type { PlanHost } from './planner.ts';

/** A move as far as room and slots are concerned. */
export interface Move {
  readonly id: string;
  readonly guest: string;
  readonly source: string;
  readonly target: string;
  readonly memoryBytes: number;
}

export interface Moves {
  /** In line. */
  waiting(): readonly Move[];
  /** Under way, not settled. */
  open(): readonly Move[];
}

export class Room {
  readonly #records: Records;
  readonly #agents: Agents;
  readonly #cordons: Cordons;
  readonly #moves: Moves;

  constructor(records: Records, agents: Agents, cordons: Cordons, moves: Moves) {
    this.#records = records;
    this.#agents = agents;
    this.#cordons = cordons;
    this.#moves = moves;
  }

  /** Bytes by host. @param which whether moves that still wait in line count */
  promises(which: 'all' | 'begun'): Map<string, number> {
    const promised = new Map<string, number>();
    const promise = (host: string, guest: string, bytes: number) => {
      if (this.#agents.lastHeard(host)?.reports.has(guest)) return;
      promised.set(host, (promised.get(host) ?? 0) + bytes);
    };
    const waiting = which === 'all' ? this.#moves.waiting() : [];
    for (const { target, guest, memoryBytes } of [...waiting, ...this.#moves.open()]) {
      promise(target, guest, memoryBytes);
    }
    for (const { state, host, spec } of this.#records.guests.values()) {
      // A guest just made runs on record a moment before a heartbeat shows what it took.
      const mayBeNew = state === 'running' && this.#agents.lastHeard(host) !== undefined;
      if (state === 'creating' || mayBeNew) promise(host, spec.name, spec.memoryBytes);
    }
    return promised;
  }

  /** Room of one host; 0 while its agent is not connected. */
  of(host: string, which: 'all' | 'begun'): number {
    const live = this.#agents.connected(host);
    if (live === undefined) return 0;
    return Math.max(0, live.freeBytes - (this.promises(which).get(host) ?? 0));
  }

  /** Every host as the planner sees it. */
  planHosts(): PlanHost[] {
    const promises = this.promises('all');
    return this.#agents.hosts().map(({ name, state, freeBytes }) => {
      const cordon = this.#cordons.get(name);
      const cordoned = cordon && (cordon.by === 'agent' ? 'leaving' : 'cordoned');
      // Gone for a moment is gone for a plan, 5 s before people are told.
      const isThere = this.#agents.connected(name) !== undefined;
      const away = state === 'connected' ? 'unreachable' : state;
      const refuses = isThere ? cordoned : away;
      const roomBytes = Math.max(0, freeBytes - (promises.get(name) ?? 0));
      return { name, roomBytes, ...(refuses !== undefined && { refuses }) };
    });
  }

  /** One host as people see it. */
  view(host: AgentHost): Host {
    return this.views([host])[0] as Host;
  }

  /** Hosts as people see them. */
  views(hosts: readonly AgentHost[]): Host[] {
    const promises = this.promises('all');
    const count = (moves: readonly Move[]) => {
      const counts = new Map<string, number>();
      for (const { source, target } of moves) {
        for (const host of [source, target]) counts.set(host, (counts.get(host) ?? 0) + 1);
      }
      return counts;
    };
    const open = count(this.#moves.open());
    const waiting = count(this.#moves.waiting());
    return hosts.map((host) => {
      const cordon = this.#cordons.get(host.name);
      return {
        ...host,
        ...(cordon && { cordon: { by: cordon.by, reason: cordon.reason, atMs: cordon.atMs } }),
        promisedBytes: promises.get(host.name) ?? 0,
        moves: open.get(host.name) ?? 0,
        movesQueued: waiting.get(host.name) ?? 0,
      };
    });
  }
}
