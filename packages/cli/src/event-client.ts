/**
 * The coordinator's event stream as a world that is kept up to date.
 *
 *   GET /v1/events --snapshot, change--> [event client] --world after each--> watching.ts
 *
 * A break is not the end: it goes on behind the last event seen, for as long as a coordinator that
 * restarts may need. Silence longer than the stream ever keeps is a break too.
 */
import {
  type Drain,
  EVENTS_ALIVE_MS,
  type EventData,
  type EventKind,
  type Guest,
  type Host,
  type Migration,
} from '@godwit/protocol';
import { type ApiClient, pause, WATCH_AGAIN_MS, WATCH_PATIENCE_MS } from './api-client.ts';
import { CommandError, EXIT } from './errors.ts';

/** What was asked for, by name or id; the other maps stay empty. */
export interface World {
  readonly hosts: Map<string, Host>;
  readonly guests: Map<string, Guest>;
  readonly migrations: Map<string, Migration>;
  /** By host. */
  readonly drains: Map<string, Drain>;
}

interface ServerEvent {
  readonly event: string;
  readonly id: string;
  readonly data: string;
}

/**
 * The world now and after every change, until `signal`; the same object each time.
 * @throws CommandError what the coordinator answered; `coordinator.unreachable` after 30 s without one
 */
export async function* watchWorld(
  api: ApiClient,
  kinds: readonly EventKind[],
  signal: AbortSignal,
): AsyncGenerator<World> {
  const world: World = {
    hosts: new Map(),
    guests: new Map(),
    migrations: new Map(),
    drains: new Map(),
  };
  let since: string | undefined;
  let patienceEndsMs = performance.now();
  while (!signal.aborted) {
    try {
      for await (const event of eventsOf(api, kinds, since, signal)) {
        patienceEndsMs = performance.now() + WATCH_PATIENCE_MS;
        apply(world, event);
        since = event.id;
        yield world;
      }
    } catch (thrown) {
      const isAway = CommandError.from(thrown).exit === EXIT.unreachable;
      if (!signal.aborted && (!isAway || performance.now() > patienceEndsMs)) throw thrown;
    }
    await pause(WATCH_AGAIN_MS, signal);
  }
}

function apply(world: World, { event, data }: ServerEvent): void {
  const { hosts, guests, migrations, drains, gone } = JSON.parse(data) as EventData;
  if (event === 'snapshot') for (const map of Object.values(world)) map.clear();
  for (const host of hosts) world.hosts.set(host.name, host);
  for (const guest of guests) world.guests.set(guest.name, guest);
  for (const migration of migrations) world.migrations.set(migration.id, migration);
  for (const drain of drains) world.drains.set(drain.host, drain);
  for (const name of gone.hosts) world.hosts.delete(name);
  for (const name of gone.guests) world.guests.delete(name);
  for (const id of gone.migrations) world.migrations.delete(id);
  for (const host of gone.drains) world.drains.delete(host);
}

/** One connection's worth; ends quietly when the connection does. */
async function* eventsOf(
  api: ApiClient,
  kinds: readonly EventKind[],
  since: string | undefined,
  signal: AbortSignal,
): AsyncGenerator<ServerEvent> {
  const silence = new AbortController();
  const pieces = await api.openEvents(kinds, since, AbortSignal.any([signal, silence.signal]));
  let timer = setTimeout(() => silence.abort(), 2 * EVENTS_ALIVE_MS);
  try {
    let text = '';
    for await (const piece of pieces) {
      clearTimeout(timer);
      timer = setTimeout(() => silence.abort(), 2 * EVENTS_ALIVE_MS);
      const blocks = (text + piece).split('\n\n');
      text = blocks.pop()!;
      for (const block of blocks) {
        const event = parse(block);
        if (event !== undefined) yield event;
      }
    }
  } catch {
    // Cut off: the caller dials again, and learns there what is wrong if anything is.
  } finally {
    clearTimeout(timer);
    silence.abort();
  }
}

/** Undefined for a comment, which only says that the stream is alive. */
function parse(block: string): ServerEvent | undefined {
  const field = (name: string) => new RegExp(`^${name}: (.*)$`, 'm').exec(block)?.[1];
  const [event, id, data] = [field('event'), field('id'), field('data')];
  return event !== undefined && id !== undefined && data !== undefined
    ? { event, id, data }
    : undefined;
}
