/**
 * Every path of the coordinator's HTTP API, one row each.
 *
 *   [routes] --> coordinator/src/api (registers these and no others), openapi.ts (describes them)
 *
 * A row without a handler does not compile in the coordinator, and a path that is served without a
 * row fails a test. Failures of all of them are `ErrorBody` with a status that goes with the exit code
 * (2 -> 400, 3 -> 404, 4 -> 409, 5 -> 503, 124 -> 504, 1 -> 500; a refused token is 401).
 */
import type { z } from 'zod';
import { eventsQuery } from './events.ts';
import * as ask from './requests.ts';
import * as view from './views.ts';

export interface Route {
  readonly method: 'GET' | 'POST' | 'DELETE';
  /** With `:name` for what the caller fills in. */
  readonly path: string;
  readonly tag: 'cluster' | 'hosts' | 'guests' | 'images' | 'migrations' | 'watching';
  /** One sentence for the document. */
  readonly what: string;
  readonly query?: z.ZodType;
  readonly body?: z.ZodType;
  /** An object as JSON, or another kind of answer by its name. */
  readonly answer: z.ZodType | 'webSocket' | 'eventStream' | 'prometheus' | 'openapi';
}

export const ROUTES = {
  status: {
    method: 'GET',
    path: '/v1/status',
    tag: 'cluster',
    what: 'The coordinator itself: version, term, store, how much there is.',
    answer: view.status,
  },
  health: {
    method: 'GET',
    path: '/healthz',
    tag: 'cluster',
    what: 'It serves; asked without a token, and says nothing else.',
    answer: view.health,
  },
  shutdown: {
    method: 'POST',
    path: '/v1/shutdown',
    tag: 'cluster',
    what: 'Ends every agent and then the coordinator, with all guests.',
    answer: view.nothing,
  },

  recovery: {
    method: 'GET',
    path: '/v1/recovery',
    tag: 'cluster',
    what: 'Whether the store was restored from a backup, and what its recovery waits for.',
    answer: view.recovery,
  },
  recover: {
    method: 'POST',
    path: '/v1/recovery',
    tag: 'cluster',
    what: 'Begins to recover a store that went back in time: what agents hold counts more than it.',
    answer: view.recovery,
  },

  hosts: {
    method: 'GET',
    path: '/v1/hosts',
    tag: 'hosts',
    what: 'All hosts that ever said hello.',
    answer: view.host.array(),
  },
  host: {
    method: 'GET',
    path: '/v1/hosts/:host',
    tag: 'hosts',
    what: 'One host.',
    answer: view.host,
  },
  fenceHost: {
    method: 'POST',
    path: '/v1/hosts/:host/fence',
    tag: 'hosts',
    what: "A person's proof that a silent host has ended for good.",
    body: ask.fenceRequest,
    answer: view.lostGuests,
  },
  cordonHost: {
    method: 'POST',
    path: '/v1/hosts/:host/cordon',
    tag: 'hosts',
    what: 'No more guests go there; those that are there stay.',
    body: ask.cordonRequest,
    answer: view.host,
  },
  uncordonHost: {
    method: 'POST',
    path: '/v1/hosts/:host/uncordon',
    tag: 'hosts',
    what: 'It takes guests again.',
    answer: view.host,
  },
  planDrain: {
    method: 'POST',
    path: '/v1/hosts/:host/drain/plan',
    tag: 'hosts',
    what: 'Where each guest of the host would go, how long it takes, what keeps the others. Nothing moves.',
    body: ask.drainRequest,
    answer: view.drainPlan,
  },
  drainHost: {
    method: 'POST',
    path: '/v1/hosts/:host/drain',
    tag: 'hosts',
    what: 'Cordons the host and moves its guests elsewhere; the answer does not wait for the moves.',
    body: ask.drainRequest,
    answer: view.drain,
  },
  drain: {
    method: 'GET',
    path: '/v1/hosts/:host/drain',
    tag: 'hosts',
    what: 'The newest drain of the host, or the restore that followed it.',
    answer: view.drain,
  },
  drains: {
    method: 'GET',
    path: '/v1/drains',
    tag: 'hosts',
    what: 'The newest drain or restore of every host that ever had one.',
    answer: view.drain.array(),
  },
  cancelDrain: {
    method: 'POST',
    path: '/v1/hosts/:host/drain/cancel',
    tag: 'hosts',
    what: 'Moves that wait are given up, those under way end; the host stays cordoned.',
    answer: view.drain,
  },
  planRestore: {
    method: 'POST',
    path: '/v1/hosts/:host/restore/plan',
    tag: 'hosts',
    what: 'Which guests that were drained from the host would come back. Nothing moves.',
    body: ask.drainRequest,
    answer: view.drainPlan,
  },
  restoreHost: {
    method: 'POST',
    path: '/v1/hosts/:host/restore',
    tag: 'hosts',
    what: 'Uncordons the host and brings back what was drained from it.',
    body: ask.drainRequest,
    answer: view.drain,
  },

  guests: {
    method: 'GET',
    path: '/v1/guests',
    tag: 'guests',
    what: 'All guests.',
    answer: view.guest.array(),
  },
  guest: {
    method: 'GET',
    path: '/v1/guests/:guest',
    tag: 'guests',
    what: 'One guest, and who holds what of it.',
    answer: view.guestDetail,
  },
  createGuest: {
    method: 'POST',
    path: '/v1/guests',
    tag: 'guests',
    what: 'Makes a guest and runs it.',
    body: ask.createGuestRequest,
    answer: view.guest,
  },
  stopGuest: {
    method: 'POST',
    path: '/v1/guests/:guest/stop',
    tag: 'guests',
    what: 'Stops its harts for good; during a migration, when that has ended.',
    answer: view.guest,
  },
  removeGuest: {
    method: 'DELETE',
    path: '/v1/guests/:guest',
    tag: 'guests',
    what: 'Forgets a guest that does not run.',
    answer: view.nothing,
  },
  discardGuest: {
    method: 'POST',
    path: '/v1/guests/:guest/discard',
    tag: 'guests',
    what: 'Gives up an image that one host holds and that is not the running guest.',
    body: ask.discardRequest,
    answer: view.nothing,
  },
  auditGuest: {
    method: 'POST',
    path: '/v1/guests/:guest/audit',
    tag: 'guests',
    what: 'Has a workload prove that no write of it was lost.',
    answer: view.auditResult,
  },
  checkpointGuest: {
    method: 'POST',
    path: '/v1/guests/:guest/checkpoint',
    tag: 'guests',
    what: 'Stops the guest for a moment and writes it to a file of its host.',
    body: ask.checkpointRequest,
    answer: view.checkpointResult,
  },
  restoreGuest: {
    method: 'POST',
    path: '/v1/checkpoints/:checkpoint/restore',
    tag: 'guests',
    what: 'Makes a guest of what a file of a host holds, and runs it there.',
    body: ask.restoreGuestRequest,
    answer: view.guest,
  },
  setRate: {
    method: 'POST',
    path: '/v1/guests/:guest/rate',
    tag: 'guests',
    what: 'How fast a workload writes from now on.',
    body: ask.rateRequest,
    answer: view.guest,
  },
  console: {
    method: 'GET',
    path: '/v1/guests/:guest/console',
    tag: 'guests',
    what: 'Where its console is.',
    answer: view.consoleAddress,
  },

  images: {
    method: 'GET',
    path: '/v1/images',
    tag: 'images',
    what: 'What machine guests can boot from, and which hosts hold it.',
    answer: view.image.array(),
  },

  migrations: {
    method: 'GET',
    path: '/v1/migrations',
    tag: 'migrations',
    what: 'Migrations, oldest first.',
    query: ask.migrationsQuery,
    answer: view.migration.array(),
  },
  migration: {
    method: 'GET',
    path: '/v1/migrations/:id',
    tag: 'migrations',
    what: 'One migration: rounds, decisions and their reasons, prediction, result.',
    answer: view.migration,
  },
  migrate: {
    method: 'POST',
    path: '/v1/migrations',
    tag: 'migrations',
    what: 'Moves a guest when its turn is; the answer does not wait for the move.',
    body: ask.migrateRequest,
    answer: view.migration,
  },
  planMigration: {
    method: 'POST',
    path: '/v1/migrations/plan',
    tag: 'migrations',
    what: 'What a move would cost, and what that rests on. Nothing moves.',
    body: ask.migrateRequest,
    answer: view.movePlan,
  },
  limits: {
    method: 'GET',
    path: '/v1/limits',
    tag: 'migrations',
    what: 'How many moves may be under way at once.',
    answer: view.moveLimits,
  },
  setLimits: {
    method: 'POST',
    path: '/v1/limits',
    tag: 'migrations',
    what: 'Sets them for the cluster, durably.',
    body: ask.limitsRequest,
    answer: view.moveLimits,
  },
  cancelMigration: {
    method: 'POST',
    path: '/v1/migrations/:id/cancel',
    tag: 'migrations',
    what: 'Gives a migration up and waits until it is known how it ended.',
    answer: view.migration,
  },

  watchMigration: {
    method: 'GET',
    path: '/v1/migrations/:id/watch',
    tag: 'watching',
    what: 'The migration as JSON text at every change; closes when it has ended.',
    answer: 'webSocket',
  },
  events: {
    method: 'GET',
    path: '/v1/events',
    tag: 'watching',
    what: 'Everything as it is, then every change; goes on from `since` after a break.',
    query: eventsQuery,
    answer: 'eventStream',
  },
  metrics: {
    method: 'GET',
    path: '/metrics',
    tag: 'watching',
    what: 'Figures of the whole cluster for Prometheus.',
    answer: 'prometheus',
  },
  openapi: {
    method: 'GET',
    path: '/openapi.json',
    tag: 'watching',
    what: 'This document.',
    answer: 'openapi',
  },
  agents: {
    method: 'GET',
    path: '/v1/agents',
    tag: 'cluster',
    what: 'For agents only: the control connection of PROTOCOL.md.',
    answer: 'webSocket',
  },
} as const satisfies { readonly [id: string]: Route };

export type Routes = typeof ROUTES;
export type RouteId = keyof Routes;

/** Ids of the routes that answer with an object. */
export type ObjectRouteId = {
  [Id in RouteId]: Routes[Id]['answer'] extends z.ZodType ? Id : never;
}[RouteId];

/** '/v1/guests/:guest/stop' -> { guest: string } */
export type PathParams<P extends string> = P extends `${string}:${infer Name}/${infer Rest}`
  ? { readonly [K in Name]: string } & PathParams<Rest>
  : P extends `${string}:${infer Name}`
    ? { readonly [K in Name]: string }
    : unknown;

type Parsed<R, Part extends 'body' | 'query'> = R extends { readonly [K in Part]: infer S }
  ? S extends z.ZodType
    ? z.output<S>
    : undefined
  : undefined;

/** What a handler of this route is given, checked. */
export interface Asked<Id extends RouteId> {
  readonly params: PathParams<Routes[Id]['path']>;
  readonly query: Parsed<Routes[Id], 'query'>;
  readonly body: Parsed<Routes[Id], 'body'>;
}

/** What it has to return. */
export type Answer<Id extends ObjectRouteId> = Routes[Id]['answer'] extends z.ZodType
  ? z.output<Routes[Id]['answer']>
  : never;

/** The row that a request meets: for tests and for labels. */
export function routeOf(method: string, path: string): RouteId | undefined {
  const parts = path.replace(/\?.*$/, '').split('/');
  const isMet = (route: Route): boolean => {
    const wanted = route.path.split('/');
    return (
      route.method === method &&
      wanted.length === parts.length &&
      wanted.every((part, i) => part.startsWith(':') || part === parts[i])
    );
  };
  const found = Object.entries(ROUTES).find(([, route]) => isMet(route));
  return found?.[0] as RouteId | undefined;
}
