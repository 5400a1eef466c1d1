/**
 * The durable records: what a coordinator that starts anew knows.
 *
 *   host/NAME        where an agent was last seen, and which incarnation it is
 *   death/HOST/ID    proof that an incarnation ended; first proof wins
 *   guest/NAME       the owner (host, incarnation, epoch) and the state of a guest
 *   migration/ID     a migration, its core's state, and what it needs to be taken up again
 *
 * Everything else (memory, dirty rates, progress) is told again by the agents within half a second
 * and is kept in memory only.
 */
import type { CoordinatorState, GuestSpec, Message, Migration } from '@godwit/protocol';
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
  readonly end?: { why: string; code: number };
  readonly digest?: string;
  readonly evidence?: string;
}

export interface MigrationRecord {
  /** What the API shows; `progress` is never stored. */
  readonly view: Migration;
  readonly core: CoordinatorState;
  /**
   * reserving: the target may reserve memory, the source knows nothing. starting: the source may
   * know. granted: both know, and the two of them go on without us.
   */
  readonly stage: 'reserving' | 'starting' | 'granted';
  /** Known to the two agents and to this record only. */
  readonly capability: string;
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

export interface Records {
  readonly store: Store;
  readonly hosts: Collection<HostRecord>;
  readonly deaths: Collection<DeathRecord>;
  readonly guests: Collection<GuestRecord>;
  readonly migrations: Collection<MigrationRecord>;
}

export async function loadRecords(store: Store): Promise<Records> {
  return {
    store,
    hosts: await Collection.load<HostRecord>(store, 'host/'),
    deaths: await Collection.load<DeathRecord>(store, 'death/'),
    guests: await Collection.load<GuestRecord>(store, 'guest/'),
    migrations: await Collection.load<MigrationRecord>(store, 'migration/'),
  };
}

/** Key of a death under `death/`: an agent can prove the end of its own host's incarnations only. */
export function deathKey(host: string, incarnation: string): string {
  return `${host}/${incarnation}`;
}
