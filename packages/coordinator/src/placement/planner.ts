/**
 * Which guest goes where: the one place that chooses hosts.
 *
 *   hosts with their room, guests with what keeps them --> [planner] --> placements, what blocks whom
 *
 * Pure and deterministic: the same cluster is planned the same way twice, so that the plan a person
 * has read is the one that is carried out. Every guest is placed or has a constraint by name.
 *
 * Largest first. Each goes to the host with the most room left, which spreads load; if that leaves
 * somebody without a place, each goes where the least room stays over, which packs tighter, and the
 * plan that places more is taken. Both keep the hosts sorted by room: a binary search and a shift
 * for each guest, never a walk over all hosts.
 *
 * Later: moves triggered by load, consolidation and owners who limit themselves come with rules of
 * their own over the same two inputs; nothing here knows why a guest is to go.
 */

/** A host as the planner sees it. */
export interface PlanHost {
  readonly name: string;
  /** Memory for guests that nobody was promised. */
  readonly roomBytes: number;
  /** Absent: it takes guests. */
  readonly refuses?: HostConstraint;
}

/** Why a host takes no guest, whatever its size. */
export type HostConstraint = 'cordoned' | 'leaving' | 'unreachable' | 'dead' | 'fenced' | 'source';

export interface PlanGuest {
  readonly name: string;
  readonly memoryBytes: number;
  /** Where it is; never its target. */
  readonly host: string;
  /** It can go to this host only (a restore). */
  readonly only?: string;
  /** It cannot move now, wherever to: in doubt, unreachable... */
  readonly kept?: { readonly code: GuestConstraint; readonly why: string };
}

export type GuestConstraint = 'doubt' | 'unreachable' | 'creating' | 'moving' | 'failed';

export interface Placement {
  readonly guest: string;
  readonly target: string;
  readonly memoryBytes: number;
}

export interface Blocked {
  readonly guest: string;
  readonly memoryBytes: number;
  readonly code: GuestConstraint | HostConstraint | 'no_room' | 'no_host';
  /** A sentence with the numbers: what it needs, what there is, who refuses and why. */
  readonly why: string;
}

export interface Plan {
  /** In the order in which they were placed: largest first. */
  readonly placements: readonly Placement[];
  readonly blocked: readonly Blocked[];
  /** Hosts compared; what the time of a plan grows with (beside shifts of pointers in memory). */
  readonly work: number;
}

/** @param hosts with the room they have now; a guest's own host may be among them */
export function plan(hosts: readonly PlanHost[], guests: readonly PlanGuest[]): Plan {
  const spread = fill(hosts, guests, 'mostRoom');
  if (spread.blocked.every((each) => each.code !== 'no_room')) return spread;
  const packed = fill(hosts, guests, 'leastRoom');
  const best = packed.placements.length > spread.placements.length ? packed : spread;
  return { ...best, work: spread.work + packed.work };
}

function fill(
  hosts: readonly PlanHost[],
  guests: readonly PlanGuest[],
  choice: 'mostRoom' | 'leastRoom',
): Plan {
  const rooms = new Rooms(hosts);
  const placements: Placement[] = [];
  const blocked: Blocked[] = [];
  for (const guest of guests.toSorted(bySize)) {
    const { name, memoryBytes } = guest;
    const target = guest.kept ? undefined : rooms.take(guest, choice);
    if (target !== undefined) placements.push({ guest: name, target, memoryBytes });
    else blocked.push({ guest: name, memoryBytes, ...whyNot(guest, rooms) });
  }
  return { placements, blocked, work: rooms.work };
}

function bySize(a: PlanGuest, b: PlanGuest): number {
  return b.memoryBytes - a.memoryBytes || (a.name < b.name ? -1 : a.name > b.name ? 1 : 0);
}

interface Room {
  readonly name: string;
  leftBytes: number;
}

/** The hosts that take guests, sorted by the room they have left, least first. */
class Rooms {
  readonly #sorted: Room[];
  readonly #byName: Map<string, Room>;
  readonly refusing: readonly (PlanHost & { refuses: HostConstraint })[];
  work = 0;

  constructor(hosts: readonly PlanHost[]) {
    this.refusing = hosts.filter((host): host is PlanHost & { refuses: HostConstraint } => {
      return host.refuses !== undefined;
    });
    this.#sorted = hosts
      .filter((host) => host.refuses === undefined)
      .map(({ name, roomBytes }) => ({ name, leftBytes: roomBytes }))
      .sort(byRoom);
    this.#byName = new Map(this.#sorted.map((room) => [room.name, room]));
  }

  /** The host that is chosen for the guest, which has that much less room from now on. */
  take(guest: PlanGuest, choice: 'mostRoom' | 'leastRoom'): string | undefined {
    const at = this.#find(guest, choice);
    const room = at === undefined ? undefined : this.#sorted[at];
    if (at === undefined || room === undefined) return undefined;
    this.#sorted.splice(at, 1);
    room.leftBytes -= guest.memoryBytes;
    const to = this.#position(room);
    this.#sorted.splice(to, 0, room);
    return room.name;
  }

  /** The host with the most room left, other than the guest's own, or the only one it may go to. */
  most({ host, only }: PlanGuest): Room | undefined {
    if (only !== undefined) return only === host ? undefined : this.#byName.get(only);
    return this.#sorted.findLast((room) => room.name !== host);
  }

  #find(guest: PlanGuest, choice: 'mostRoom' | 'leastRoom'): number | undefined {
    const { host, only, memoryBytes } = guest;
    const fits = (at: number) => {
      const room = this.#sorted[at];
      return room !== undefined && room.leftBytes >= memoryBytes && room.name !== host;
    };
    if (only !== undefined) {
      const room = this.#byName.get(only);
      const at = room && this.#position(room);
      return at !== undefined && fits(at) ? at : undefined;
    }
    // At most one neighbour is the guest's own host.
    const first = this.#position({ name: '', leftBytes: memoryBytes });
    const last = this.#sorted.length - 1;
    const candidates = choice === 'mostRoom' ? [last, last - 1] : [first, first + 1];
    return candidates.find(fits);
  }

  /** Where a room of this size stands, or would. */
  #position(room: Room): number {
    let low = 0;
    let high = this.#sorted.length;
    while (low < high) {
      this.work += 1;
      const middle = (low + high) >>> 1;
      if (byRoom(this.#sorted[middle]!, room) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

/** Equal room: the first name stands last, where it is chosen first. */
function byRoom(a: Room, b: Room): number {
  if (a.leftBytes !== b.leftBytes) return a.leftBytes - b.leftBytes;
  if (a.name === '' || b.name === '') return a.name === b.name ? 0 : a.name === '' ? -1 : 1;
  return a.name < b.name ? 1 : a.name > b.name ? -1 : 0;
}

/** Hosts named in one sentence; a cluster of a thousand would fill the screen. */
const NAMED_MAX = 4;

function whyNot(guest: PlanGuest, rooms: Rooms): Pick<Blocked, 'code' | 'why'> {
  if (guest.kept !== undefined) return guest.kept;
  const { memoryBytes, only } = guest;
  const refusing = rooms.refusing.find((host) => host.name === only);
  if (refusing !== undefined) {
    return { code: refusing.refuses, why: `host ${refusing.name} is ${refusing.refuses}` };
  }
  const others = rooms.refusing.filter((host) => host.name !== guest.host);
  const refusals = others.map((host) => `${host.name} is ${host.refuses}`);
  const more = refusals.length > NAMED_MAX ? `, and ${refusals.length - NAMED_MAX} more` : '';
  const named = refusals.slice(0, NAMED_MAX).join(', ') + more;
  const most = rooms.most(guest);
  if (most === undefined) {
    const none = only === undefined ? 'no other host takes guests' : `no host ${only}`;
    return { code: 'no_host', why: named === '' ? none : `${none}: ${named}` };
  }
  const needs = `needs ${mib(memoryBytes)}, ${mib(most.leftBytes)} are left on host ${most.name}`;
  const rest = only === undefined ? ', which has the most' : '';
  return { code: 'no_room', why: needs + rest + (named === '' || only ? '' : ` (${named})`) };
}

function mib(bytes: number): string {
  return `${Math.floor(Math.max(0, bytes) / 1048576)} MiB`;
}
