/**
 * What changed since when: hosts, guests, migrations and drains, each with the revision of its last
 * change.
 *
 *   store commits, progress, a look a second --marks--> [event hub] --changes(since)--> event streams
 *
 * The hub holds the last view of each object and the revision at which it became so; a reader holds
 * one number. So "what did I miss" is a filter, whoever asks and for whatever reason it asks: it was
 * slow, it was away, or it is up to date and something just happened. Nothing is queued for anybody.
 *
 * Commits mark the objects they touch, and a move that changes marks the drain it belongs to. What agents
 * say by heartbeat (memory, rates, silence), and what a drain's plan found, is no commit, so while somebody
 * watches, everything is looked at once a second. Nobody watching: no cost; the first reader that comes
 * brings the views up to date.
 */
import { createHash } from 'node:crypto';
import type { Drain, Guest, Host, Migration } from '@godwit/protocol';
import { EVENT_KINDS, type EventData, type EventKind } from '@godwit/protocol/http-api';
import type { CommandParts } from '../guest-commands.ts';
import type { Drains } from '../placement/drains.ts';
import { ALL_KEYS } from '../store/store.ts';

/** Changes of one commit and of those right after it go out together. */
const GATHER_MS = 20;
/** How stale the figures of heartbeats may be. */
const LOOK_MS = 1_000;
/** Names of removed objects that are remembered; a reader from before them gets a snapshot. */
const GONE_MAX = 4_096;

type View = Host | Guest | Migration | Drain;

interface Known {
  readonly view: View;
  readonly print: string;
  readonly revision: number;
}

interface Gone {
  readonly kind: EventKind;
  readonly name: string;
  readonly revision: number;
}

interface HubParts
  extends Pick<CommandParts, 'agents' | 'records' | 'views' | 'migrations' | 'room'> {
  readonly drains: Drains;
}

export class EventHub {
  readonly term: number;
  readonly #parts: HubParts;
  readonly #known: { readonly [K in EventKind]: Map<string, Known> } = {
    host: new Map(),
    guest: new Map(),
    migration: new Map(),
    drain: new Map(),
  };
  readonly #gone: Gone[] = [];
  readonly #readers = new Set<() => void>();
  readonly #marks = new Set<string>();
  readonly #endWatches: readonly (() => void)[];
  #revision = 0;
  /** Readers from before it missed a removal that is forgotten. */
  #oldest = 0;
  #gathering: NodeJS.Timeout | undefined;
  #look: NodeJS.Timeout | undefined;

  constructor(parts: HubParts) {
    this.#parts = parts;
    const { store } = parts.records;
    this.term = store.term;
    this.#endWatches = [
      store.watch(ALL_KEYS, store.revision, ({ key }) => this.#committed(key)),
      parts.migrations.watchAll((view) => this.#moved(view)),
    ];
  }

  close(): void {
    for (const end of this.#endWatches) end();
    clearTimeout(this.#gathering);
    clearInterval(this.#look);
    this.#readers.clear();
  }

  get revision(): number {
    return this.#revision;
  }

  get readers(): number {
    return this.#readers.size;
  }

  /** Calls back after every change, until the returned end of the watch. */
  watch(reader: () => void): () => void {
    if (this.#readers.size === 0) {
      this.#lookAtAll();
      this.#look = setInterval(() => this.#lookAtAll(), LOOK_MS);
    }
    this.#readers.add(reader);
    return () => {
      this.#readers.delete(reader);
      if (this.#readers.size === 0) clearInterval(this.#look);
    };
  }

  /** A reader at `revision` can be told what it missed. */
  canGoOnFrom(revision: number): boolean {
    return revision >= this.#oldest && revision <= this.#revision;
  }

  /**
   * Everything that changed after `since` (undefined: all there is), as it is now.
   * @returns undefined: nothing
   */
  changes(since: number | undefined, kinds: ReadonlySet<EventKind>): EventData | undefined {
    const changed = <T extends View>(kind: EventKind): T[] =>
      kinds.has(kind)
        ? [...this.#known[kind].values()]
            .filter((known) => since === undefined || known.revision > since)
            .map((known) => known.view as T)
        : [];
    const gone = (kind: EventKind): string[] =>
      since === undefined || !kinds.has(kind)
        ? []
        : this.#gone.filter((e) => e.kind === kind && e.revision > since).map((each) => each.name);
    const data: EventData = {
      revision: this.#revision,
      atMs: Date.now(),
      hosts: changed<Host>('host'),
      guests: changed<Guest>('guest'),
      migrations: changed<Migration>('migration'),
      drains: changed<Drain>('drain'),
      gone: {
        hosts: gone('host'),
        guests: gone('guest'),
        migrations: gone('migration'),
        drains: gone('drain'),
      },
    };
    const { hosts, guests, migrations, drains } = data;
    const lists = [hosts, guests, migrations, drains, ...Object.values(data.gone)];
    return since === undefined || lists.some((list) => list.length > 0) ? data : undefined;
  }

  // ------------------------------------------------------------------------------- inside

  /** `guest/NAME`, `migration/ID`, `host|drain|cordon/HOST`, `death/HOST/INCARNATION` (records.ts). */
  #committed(key: string): void {
    const [prefix = '', name = ''] = key.split('/');
    if (prefix === 'death' || prefix === 'cordon') this.#mark('host', name);
    else if (isKind(prefix)) this.#mark(prefix, name);
  }

  /** A drain is at its source; a restore is of the host that is the target. */
  #moved({ id, drain, source, target }: Migration): void {
    this.#mark('migration', id);
    if (drain === undefined) return;
    this.#mark('drain', source);
    this.#mark('drain', target);
  }

  #mark(kind: EventKind, name: string): void {
    if (this.#readers.size === 0) return;
    this.#marks.add(`${kind}/${name}`);
    this.#gathering ??= setTimeout(() => this.#lookAtMarked(), GATHER_MS);
  }

  #lookAtMarked(): void {
    this.#gathering = undefined;
    const before = this.#revision;
    for (const mark of this.#marks) {
      const [kind, name] = mark.split('/') as [EventKind, string];
      this.#take(kind, name, this.#viewOf(kind, name));
    }
    this.#marks.clear();
    this.#tell(before);
  }

  #lookAtAll(): void {
    const before = this.#revision;
    const { agents, records, views, migrations, drains, room } = this.#parts;
    this.#takeAll('host', new Map(room.views(agents.hosts()).map((host) => [host.name, host])));
    const guests = records.guests.values().map((record) => views.guest(record));
    this.#takeAll('guest', new Map(guests.map((guest) => [guest.name, guest])));
    const moves = migrations.list({});
    this.#takeAll('migration', new Map(moves.map((move) => [move.id, move])));
    this.#takeAll('drain', new Map(drains.list().map((drain) => [drain.host, drain])));
    this.#tell(before);
  }

  #takeAll(kind: EventKind, now: ReadonlyMap<string, View>): void {
    for (const name of [...this.#known[kind].keys()]) {
      if (!now.has(name)) this.#take(kind, name, undefined);
    }
    for (const [name, view] of now) this.#take(kind, name, view);
  }

  #viewOf(kind: EventKind, name: string): View | undefined {
    const { agents, records, views, migrations, drains, room } = this.#parts;
    if (kind === 'host') return records.hosts.get(name) && room.view(agents.host(name));
    if (kind === 'migration') return migrations.record(name) && migrations.view(name);
    if (kind === 'drain') return records.drains.get(name) && drains.view(name);
    const record = records.guests.get(name);
    return record && views.guest(record);
  }

  #take(kind: EventKind, name: string, view: View | undefined): void {
    const known = this.#known[kind];
    const before = known.get(name);
    if (view === undefined) {
      if (before === undefined) return;
      known.delete(name);
      this.#revision += 1;
      this.#gone.push({ kind, name, revision: this.#revision });
      if (this.#gone.length > GONE_MAX) this.#oldest = this.#gone.shift()!.revision;
      return;
    }
    // An object that did not change is the very same one, for migrations: nothing to compare.
    if (before?.view === view) return;
    const print = fingerprint(view);
    if (before?.print === print) return;
    this.#revision += 1;
    known.set(name, { view, print, revision: this.#revision });
  }

  #tell(before: number): void {
    if (this.#revision === before) return;
    for (const reader of [...this.#readers]) reader();
  }
}

/**
 * `lastHeardAtMs` of a host moves with every heartbeat and says nothing that `state` does not: it
 * alone is no change.
 */
function fingerprint(view: View): string {
  const text = JSON.stringify(view, (key, value) => (key === 'lastHeardAtMs' ? undefined : value));
  return createHash('sha1').update(text).digest('base64');
}

function isKind(text: string): text is EventKind {
  return (EVENT_KINDS as readonly string[]).includes(text);
}
