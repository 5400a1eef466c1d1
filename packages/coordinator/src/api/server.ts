/**
 * The HTTP and WebSocket server: the paths of http-api.ts, and /v1/agents for the agents.
 *
 *   command line, console, agents --> [server] --> commands, migrations, agents
 *
 * Every answer is an object of http-api.ts or an error of errors.ts; nothing here decides anything.
 * Bodies are checked by the schemas of http-api.ts, every path by access.ts first.
 */
import websocket from '@fastify/websocket';
import {
  CONTROL_MESSAGE_BYTES_MAX,
  ELF_BYTES_MAX,
  GodwitError,
  type Migration,
  PROTOCOL_VERSION,
  type Status,
} from '@godwit/protocol';
import { discardRequest, fenceRequest, rateRequest } from '@godwit/protocol/http-api';
import fastify, { type FastifyInstance } from 'fastify';
import type { WebSocket } from 'ws';
import type { CommandParts, GuestCommands } from '../guest-commands.ts';
import type { Logger } from '../log.ts';
import { Access, type Listen } from './access.ts';
import { bodyOf, errorOf, statusOf } from './errors.ts';

const VERSION = '0.1.0';
/** A program in base64, and the rest of the request. */
const BODY_BYTES_MAX = Math.ceil((ELF_BYTES_MAX * 4) / 3) + 65_536;
/** How long a cancel waits to hear how it ended. */
const CANCEL_DEADLINE_MS = 10_000;
/** A watcher that reads slowly misses views in between, never the last one. */
const WATCHER_UNSENT_BYTES_MAX = 1024 * 1024;
const WATCHER_AGAIN_MS = 50;

export interface ServerOptions {
  readonly parts: CommandParts & { readonly commands: GuestCommands };
  readonly token: string | undefined;
  readonly log: Logger;
  shutdown(): Promise<void>;
}

export interface Server {
  /** @returns the URL it listens on. @throws GodwitError `listen.in_use`, `listen.failed` */
  listen(listen: Listen): Promise<string>;
  close(): Promise<void>;
}

export function makeServer(options: ServerOptions): Server {
  // Idle connections of the command line must not hold up the end of this process.
  const app = fastify({ bodyLimit: BODY_BYTES_MAX, forceCloseConnections: true });
  const access = new Access(options.token);
  app.register(websocket, {
    options: { maxPayload: CONTROL_MESSAGE_BYTES_MAX, perMessageDeflate: false },
  });
  app.addHook('onRequest', async (request) => access.check(request.headers));
  app.setErrorHandler((thrown, _request, reply) => {
    const error = errorOf(thrown);
    if (error.exit === 1) options.log.error({ err: thrown }, error.message);
    return reply.code(statusOf(error)).send(bodyOf(error));
  });
  app.setNotFoundHandler((request, reply) => {
    const error = new GodwitError('request.invalid', {
      why: `${request.method} ${request.url}: no such path`,
    });
    return reply.code(404).send(bodyOf(error));
  });
  // A POST without a body may still say that it is JSON.
  app.addContentTypeParser('application/json', { parseAs: 'string' }, (_request, body, done) => {
    try {
      done(null, body === '' ? undefined : JSON.parse(body as string));
    } catch {
      done(new GodwitError('request.invalid', { why: 'the body is no JSON' }));
    }
  });
  app.register(async (scope) => {
    routes(scope, options);
    streams(scope, options);
  });
  return {
    listen: (listen) => listenOn(app, listen),
    close: () => app.close(),
  };
}

async function listenOn(app: FastifyInstance, { host, port }: Listen): Promise<string> {
  const address = `${host}:${port}`;
  try {
    return await app.listen({ host, port });
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    if (code === 'EADDRINUSE') throw new GodwitError('listen.in_use', { address }, { cause });
    throw new GodwitError('listen.failed', { address, why: message }, { cause });
  }
}

interface GuestPath {
  Params: { guest: string };
}
interface HostPath {
  Params: { host: string };
}
interface MigrationPath {
  Params: { id: string };
}

function routes(app: FastifyInstance, { parts, shutdown }: ServerOptions): void {
  const { agents, guests, migrations, views, commands, records } = parts;

  app.get(
    '/v1/status',
    async (): Promise<Status> => ({
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
    }),
  );

  app.get('/v1/hosts', async () => agents.hosts());
  app.get<HostPath>('/v1/hosts/:host', async ({ params }) => agents.host(params.host));
  app.post<HostPath>('/v1/hosts/:host/fence', async ({ params, body }) => {
    const { discardTarget } = fenceRequest.parse(body);
    const isLost = () => records.guests.values().filter((guest) => guest.state === 'lost');
    const before = new Set(isLost().map((guest) => guest.spec.name));
    await agents.fence(params.host, discardTarget);
    await migrations.quiet();
    return {
      lost: isLost()
        .map((guest) => guest.spec.name)
        .filter((name) => !before.has(name)),
    };
  });

  app.get('/v1/guests', async () => records.guests.values().map((guest) => views.guest(guest)));
  app.post('/v1/guests', async ({ body }) => commands.create(body as never));
  app.get<GuestPath>('/v1/guests/:guest', async ({ params }) =>
    views.detail(guests.known(params.guest)),
  );
  app.post<GuestPath>('/v1/guests/:guest/stop', async ({ params }) => commands.stop(params.guest));
  app.delete<GuestPath>('/v1/guests/:guest', async ({ params }) => {
    await commands.remove(params.guest);
    return {};
  });
  app.post<GuestPath>('/v1/guests/:guest/discard', async ({ params, body }) => {
    await commands.discard(params.guest, discardRequest.parse(body).host);
    return {};
  });
  app.post<GuestPath>('/v1/guests/:guest/audit', async ({ params }) =>
    commands.audit(params.guest),
  );
  app.post<GuestPath>('/v1/guests/:guest/rate', async ({ params, body }) =>
    commands.setRate(params.guest, rateRequest.parse(body).rateMiBps ?? undefined),
  );
  app.get<GuestPath>('/v1/guests/:guest/console', async ({ params }) =>
    commands.consoleAddress(params.guest),
  );

  app.post('/v1/migrations', async ({ body }) => migrations.start(body as never));
  app.get<{ Querystring: { guest?: string; open?: string } }>('/v1/migrations', async ({ query }) =>
    migrations.list({ guest: query.guest, isOpen: query.open === 'true' }),
  );
  app.get<MigrationPath>('/v1/migrations/:id', async ({ params }) => migrations.view(params.id));
  app.post<MigrationPath>('/v1/migrations/:id/cancel', async ({ params }) =>
    migrations.cancel(params.id, CANCEL_DEADLINE_MS),
  );

  app.post('/v1/shutdown', async () => {
    await shutdown();
    return {};
  });
}

function streams(app: FastifyInstance, { parts }: ServerOptions): void {
  const { agents, migrations } = parts;
  app.get('/v1/agents', { websocket: true }, (socket, request) =>
    agents.attach(socket, request.ip),
  );
  app.get<MigrationPath>(
    '/v1/migrations/:id/watch',
    {
      websocket: true,
      // Before the upgrade, so that an unknown migration is an ordinary 404.
      preValidation: async ({ params }) => void migrations.view(params.id),
    },
    (socket, { params }) => {
      const view = () => migrations.view(params.id);
      stream(socket, view, (changed) => migrations.watch(params.id, changed));
    },
  );
}

/** Sends the view now and at every change; closes after the last one. */
function stream(
  socket: WebSocket,
  view: () => Migration,
  watch: (changed: () => void) => () => void,
): void {
  let isDue = false;
  const send = (): void => {
    isDue = false;
    if (socket.readyState !== socket.OPEN) return;
    if (socket.bufferedAmount > WATCHER_UNSENT_BYTES_MAX) return later();
    const now = view();
    socket.send(JSON.stringify(now));
    if (now.endedAtMs !== undefined) socket.close(1000);
  };
  const later = (): void => {
    isDue = true;
    setTimeout(send, WATCHER_AGAIN_MS);
  };
  const end = watch(() => {
    if (!isDue) send();
  });
  socket.on('close', end);
  socket.on('error', () => socket.terminate());
  send();
}
