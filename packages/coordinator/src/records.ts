/**
 * The durable records: what a coordinator that starts anew knows.
 *
 *   host/NAME        where an agent was last seen, and which incarnation it is
 *   death/HOST/ID    proof that an incarnation ended; first proof wins
 *   guest/NAME       the owner (host, incarnation, epoch) and the state of a guest
 *   migration/ID     a migration, its core's state, and what it needs to be taken up again
 *   cordon/HOST      this host takes no guests, and who said so
 *   drain/HOST       the newest drain of a host, or the restore that followed it
 *   setting/NAME     what a person has set for the cluster
 *
 * Everything else (memory, dirty rates, progress) is told again by the agents within half a second
 * and is kept in memory only.
 */
import type {
  CoordinatorState,
  Cordon,
  Drain,
  GuestSpec,
  Message,
  Migration,
  MoveLimits,
} from '@godwit/protocol';
import type { drainRequest } from '@godwit/protocol/http-api';
import { Collection } from './store/collection.ts';
import type { Store } from './store/store.ts';

export interface HostRecord {
  readonly name: string;
  readonly address: string;
  readonly incarnation: string;
  readonly pid: number;
  readonly cores: number;
  readonly memoryBytes: number;
  /** Unix time of the last hello. */
  readonly helloAtMs: number;
}

export interface DeathRecord {
  readonly host: string;
  readonly incarnation: string;
  /** What a person reads: exit status, or who fenced it. */
  readonly exit: string;
  readonly provedBy: 'supervisor' | 'successor' | 'person';
  /** (guest, epoch) it had begun to run; meaningless when a person proved the end. */
  readonly ran: readonly { guest: string; epoch: number }[];
  /** A person gives up whatever it did as a target. */
  readonly discarded: boolean;
  readonly atMs: number;
}

export interface GuestRecord {
  readonly spec: GuestSpec;
  readonly epoch: number;
  readonly host: string;
  readonly incarnation: string;
  readonly state: 'creating' | 'running' | 'stopped' | 'ended' | 'lost';
  readonly createdAtMs: number;
  /** Highest count of writes ever heard; saved now and then, never lowered. */
  readonly witnessWrites: number;
  /** The open migration: at most one, because it is set by compare-and-set. */
  readonly migration?: string;
  /**
   * The settled migration that lost it: its ends may still come back and say that they have the guest.
   * Whoever restores or removes the guest takes this away, and with it their word.
   */
  readonly lostIn?: string;
  /** The migration that waits in line for it; likewise at most one. Never both. */
  readonly queued?: string;
  /** Latched in a migration that is over: the owner still has to stop it, if it runs. */
  readonly isStopWanted?: true;
  readonly end?: { why: string; code: number };
  readonly digest?: string;
  readonly evidence?: string;
}

export interface MigrationRecord {
  /** What the API shows; `progress` is never stored. */
  readonly view: Migration;
  readonly core: CoordinatorState;
  /**
   * queued: nobody was asked anything, and the guest is as free as before. reserving: the target may
   * reserve memory, the source knows nothing. starting: the source may know. granted: both know, and
   * the two of them go on without us.
   */
  readonly stage: 'queued' | 'reserving' | 'starting' | 'granted';
  /** Its place in line (placement/line.ts). */
  readonly ticket: { readonly flow: string; readonly tag: number };
  /**
   * Its place in the order in which moves left the line, which no clock can change. Absent: it waits
   * there, or ended under an earlier release and is older than those that have one.
   */
  readonly place?: number;
  /** Known to the two agents and to this record only. */
  readonly capability: string;
  /** Empty while it is queued. */
  readonly sourceIncarnation: string;
  readonly targetIncarnation: string;
  readonly throttlePermille: number;
  readonly isCancelled: boolean;
  /** A person asked to stop the guest; the owner does it when the migration is settled. */
  readonly isStopLatched: boolean;
  readonly reservedMs: number;
  readonly missingPages: number;
  /** When an end last entered another phase, by this process's clock. */
  readonly phaseHeardAtMs: number;
  /** Why the target will never run it, once that is known. */
  readonly refusal?: string;
  readonly presence?: Message<'allPresent'>;
}

export interface CordonRecord extends Cordon {
  readonly host: string;
  /** `by: agent`: the incarnation that is leaving; its successor takes guests again. */
  readonly incarnation?: string;
}

export interface DrainRecord {
  readonly id: string;
  readonly host: string;
  readonly kind: Drain['kind'];
  readonly by: Drain['by'];
  readonly state: Drain['state'];
  readonly options: ReturnType<typeof drainRequest.parse>;
  readonly startedAtMs: number;
  readonly endedAtMs?: number;
  /** What it brought elsewhere (with the drains it continues): the guests a restore brings back. */
  readonly away: readonly string[];
  /** At the end; until then the rows follow from guests and migrations. */
  readonly guests: Drain['guests'];
}

export interface Records {
  readonly store: Store;
  readonly hosts: Collection<HostRecord>;
  readonly deaths: Collection<DeathRecord>;
  readonly guests: Collection<GuestRecord>;
  readonly migrations: Collection<MigrationRecord>;
  readonly cordons: Collection<CordonRecord>;
  readonly drains: Collection<DrainRecord>;
  readonly settings: Collection<Partial<MoveLimits>>;
}

export async function loadRecords(store: Store): Promise<Records> {
  return {
    store,
    hosts: await Collection.load<HostRecord>(store, 'host/'),
    deaths: await Collection.load<DeathRecord>(store, 'death/'),
    guests: await Collection.load<GuestRecord>(store, 'guest/'),
    migrations: await Collection.load<MigrationRecord>(store, 'migration/'),
    cordons: await Collection.load<CordonRecord>(store, 'cordon/'),
    drains: await Collection.load<DrainRecord>(store, 'drain/'),
    settings: await Collection.load<Partial<MoveLimits>>(store, 'setting/'),
  };
}

/** Key of a death under `death/`: an agent can prove the end of its own host's incarnations only. */
export function deathKey(host: string, incarnation: string): string {
  return `${host}/${incarnation}`;
}
