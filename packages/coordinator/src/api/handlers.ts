/**
 * What each route with an object for an answer does: one function a row of the route table.
 *
 *   server.ts --checked request--> [handlers] --> commands, migrations, agents --> answer
 *
 * Nothing here decides anything. A row without a function, or a function whose answer is not what its
 * row says, does not compile.
 */
import { GodwitError, PROTOCOL_VERSION, type Recovery } from '@godwit/protocol';
import type { Answer, Asked, ObjectRouteId } from '@godwit/protocol/http-api';
import type { Checkpoints } from '../checkpoints.ts';
import type { CommandParts, GuestCommands } from '../guest-commands.ts';
import type { Drains } from '../placement/drains.ts';
import type { Settings } from '../placement/settings.ts';

/** How long a cancel waits to hear how it ended. */
const CANCEL_DEADLINE_MS = 10_000;

/** A store that is behind has another server (recovery/recovery-server.ts). */
const NOTHING_TO_RECOVER: Recovery = {
  state: 'none',
  reported: [],
  waitingFor: [],
  fenced: [],
};

export const VERSION = '0.1.0';

export interface ApiParts extends CommandParts {
  readonly commands: GuestCommands;
  readonly checkpoints: Checkpoints;
  readonly drains: Drains;
  readonly settings: Settings;
  /** Ends all agents, then this process. */
  shutdown(): Promise<void>;
}

export type Handlers = {
  readonly [Id in ObjectRouteId]: (asked: Asked<Id>) => Promise<Answer<Id>>;
};

export function makeHandlers(parts: ApiParts): Handlers {
  const { agents, guests, migrations, views, commands, checkpoints, records, room } = parts;
  return {
    ...maintenance(parts),
    status: async () => ({
      version: VERSION,
      protocol: PROTOCOL_VERSION,
      term: records.store.term,
      storeId: records.store.id,
      storeRev: records.store.revision,
      hosts: records.hosts.size,
      guests: records.guests.size,
      openMigrations: migrations.openCount,
      uptimeS: process.uptime(),
      pid: process.pid,
      ...(records.store.stall && { stall: records.store.stall.message }),
    }),
    recovery: async () => NOTHING_TO_RECOVER,
    recover: async () => NOTHING_TO_RECOVER,
    health: async () => ({ ok: true }),
    shutdown: async () => {
      await parts.shutdown();
      return {};
    },

    hosts: async () => room.views(agents.hosts()),
    host: async ({ params }) => room.view(agents.host(params.host)),
    fenceHost: async ({ params, body }) => {
      const lostNow = () =>
        records.guests
          .values()
          .filter((guest) => guest.state === 'lost')
          .map((guest) => guest.spec.name);
      const before = new Set(lostNow());
      await agents.fence(params.host, body.discardTarget);
      await migrations.quiet();
      return { lost: lostNow().filter((name) => !before.has(name)) };
    },

    guests: async () => records.guests.values().map((guest) => views.guest(guest)),
    guest: async ({ params }) => views.detail(guests.known(params.guest)),
    createGuest: async ({ body }) => commands.create(body),
    stopGuest: async ({ params }) => commands.stop(params.guest),
    removeGuest: async ({ params }) => {
      await commands.remove(params.guest);
      return {};
    },
    discardGuest: async ({ params, body }) => {
      await commands.discard(params.guest, body.host);
      return {};
    },
    auditGuest: async ({ params }) => commands.audit(params.guest),
    checkpointGuest: async ({ params, body }) => checkpoints.write(params.guest, body.checkpoint),
    restoreGuest: async ({ params, body }) => checkpoints.restore(params.checkpoint, body),
    setRate: async ({ params, body }) =>
      commands.setRate(params.guest, body.rateMiBps ?? undefined),
    console: async ({ params }) => commands.consoleAddress(params.guest),

    images: async () => parts.images.list(),

    migrations: async ({ query }) =>
      migrations.list({
        guest: query.guest,
        drain: query.drain,
        isOpen: query.open === 'true',
      }),
    migration: async ({ params }) => migrations.view(params.id),
    migrate: async ({ body }) => migrations.start(body),
    planMigration: async ({ body }) => migrations.plan(body),
    cancelMigration: async ({ params }) => migrations.cancel(params.id, CANCEL_DEADLINE_MS),
  };
}

type Maintenance =
  | 'cordonHost'
  | 'uncordonHost'
  | 'planDrain'
  | 'drainHost'
  | 'drain'
  | 'drains'
  | 'cancelDrain'
  | 'planRestore'
  | 'restoreHost'
  | 'limits'
  | 'setLimits';

/** Which hosts take guests, emptying them, and how much may move at once. */
function maintenance(parts: ApiParts): Pick<Handlers, Maintenance> {
  const { agents, migrations, cordons, drains, settings, room } = parts;
  /** What a move waits for may be gone. */
  const lookAgain = () => {
    void migrations.look();
    drains.lookAll();
  };
  return {
    cordonHost: async ({ params: { host }, body }) => {
      agents.host(host);
      await cordons.cordon(host, 'person', body.reason);
      return room.view(agents.host(host));
    },
    uncordonHost: async ({ params: { host } }) => {
      agents.host(host);
      if (drains.isOpen(host)) {
        throw new GodwitError('host.draining', { host, drain: drains.view(host).id });
      }
      await cordons.uncordon(host);
      lookAgain();
      return room.view(agents.host(host));
    },
    planDrain: async ({ params, body }) => drains.plan(params.host, 'drain', body),
    drainHost: async ({ params, body }) => drains.start(params.host, 'drain', body, 'person'),
    drain: async ({ params }) => drains.view(params.host),
    drains: async () => drains.list(),
    cancelDrain: async ({ params }) => drains.cancel(params.host),
    planRestore: async ({ params, body }) => drains.plan(params.host, 'restore', body),
    restoreHost: async ({ params, body }) => drains.start(params.host, 'restore', body, 'person'),
    limits: async () => settings.moves,
    setLimits: async ({ body }) => {
      const limits = await settings.setMoves(body);
      lookAgain();
      return limits;
    },
  };
}
