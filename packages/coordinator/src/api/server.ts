/**
 * The HTTP and WebSocket server: it serves the rows of the route table and nothing else.
 *
 *   command line, console, agents --> [server] --> handlers, streams --> commands, migrations, agents
 *
 * In this order a request is held against: who may speak (access.ts), the version of the API, the
 * schemas of its row. Every failure is an error of errors.ts. Nothing here decides anything.
 */
import websocket from '@fastify/websocket';
import {
  API_VERSION,
  API_VERSION_HEADER,
  CONTROL_MESSAGE_BYTES_MAX,
  ELF_BYTES_MAX,
  EXPOSITION_TYPE,
  GodwitError,
} from '@godwit/protocol';
import { openapiDocument, ROUTES, type Route } from '@godwit/protocol/http-api';
import fastify, { type FastifyInstance, type FastifyRequest } from 'fastify';
import type { Logger } from '../log.ts';
import { Access, type Listen } from './access.ts';
import { bodyOf, errorOf, statusOf } from './errors.ts';
import { EventHub } from './event-hub.ts';
import { streamEvents } from './event-stream.ts';
import { type ApiParts, makeHandlers, VERSION } from './handlers.ts';
import { Metrics } from './metrics.ts';
import { streamMigration } from './migration-stream.ts';

/** A program in base64, and the rest of the request. */
const BODY_BYTES_MAX = Math.ceil((ELF_BYTES_MAX * 4) / 3) + 65_536;

export interface ServerOptions {
  readonly parts: ApiParts;
  readonly token: string | undefined;
  readonly log: Logger;
}

export interface Server {
  /** What is served, as `METHOD path`; a test compares it with the route table. */
  readonly served: readonly string[];
  /** @returns the URL it listens on. @throws GodwitError `listen.in_use`, `listen.failed` */
  listen(listen: Listen): Promise<string>;
  close(): Promise<void>;
}

export function makeServer(options: ServerOptions): Server {
  // Idle connections of the command line must not hold up the end of this process.
  const app = fastify({
    bodyLimit: BODY_BYTES_MAX,
    forceCloseConnections: true,
    exposeHeadRoutes: false,
  });
  const served: string[] = [];
  app.addHook('onRoute', ({ method, url }) => void served.push(`${method} ${url}`));
  const access = new Access(options.token);
  const events = new EventHub(options.parts);
  const metrics = new Metrics(options.parts, events);
  app.register(websocket, {
    options: { maxPayload: CONTROL_MESSAGE_BYTES_MAX, perMessageDeflate: false },
  });
  app.addHook('onRequest', async (request, reply) => {
    reply.header(API_VERSION_HEADER, String(API_VERSION));
    if (request.url !== ROUTES.health.path) access.check(request.headers);
    checkVersion(request);
    // A change that is asked for now could not be kept: said at once, not after a deadline.
    const { stall } = options.parts.records.store;
    if (stall !== undefined && request.method !== 'GET') throw stall;
  });
  app.addHook('onResponse', async (_request, reply) => metrics.answered(reply.statusCode));
  answerErrors(app, options.log);
  takeEmptyJson(app);
  app.register(async (scope) => {
    objects(scope, options.parts);
    streams(scope, options.parts, events);
    documents(scope, metrics);
  });
  return {
    served,
    listen: (listen) => listenOn(app, listen),
    close: async () => {
      events.close();
      await app.close();
    },
  };
}

/** @throws GodwitError `api.version` a path or a header of another version */
function checkVersion({ headers, url }: FastifyRequest): void {
  const inPath = /^\/v(\d+)(?:[/?]|$)/.exec(url)?.[1];
  const inHeader = headers[API_VERSION_HEADER]?.toString();
  const asked = [inPath, inHeader].find((each) => each !== undefined && each !== `${API_VERSION}`);
  if (asked !== undefined) throw new GodwitError('api.version', { asked, spoken: API_VERSION });
}

/** Also of the server that stands in while the store is behind. */
export function answerErrors(app: FastifyInstance, log: Logger): void {
  app.setErrorHandler((thrown, _request, reply) => {
    const error = errorOf(thrown);
    if (error.exit === 1) log.error({ err: thrown }, error.message);
    return reply.code(statusOf(error)).send(bodyOf(error));
  });
  app.setNotFoundHandler((request, reply) => {
    const error = new GodwitError('request.invalid', {
      why: `${request.method} ${request.url}: no such path`,
    });
    return reply.code(404).send(bodyOf(error));
  });
}

/** A POST without a body may still say that it is JSON. */
export function takeEmptyJson(app: FastifyInstance): void {
  app.addContentTypeParser('application/json', { parseAs: 'string' }, (_request, body, done) => {
    try {
      done(null, body === '' ? undefined : JSON.parse(body as string));
    } catch {
      done(new GodwitError('request.invalid', { why: 'the body is no JSON' }));
    }
  });
}

/** The rows whose answer is an object. */
function objects(app: FastifyInstance, parts: ApiParts): void {
  for (const [id, handler] of Object.entries(makeHandlers(parts))) {
    const { method, path: url, query, body }: Route = ROUTES[id as keyof typeof ROUTES];
    const answer = handler as (asked: object) => Promise<unknown>;
    app.route({
      method,
      url,
      handler: async (request) =>
        answer({
          params: request.params,
          query: query?.parse(request.query),
          body: body?.parse(request.body),
        }),
    });
  }
}

/** WebSockets and the event stream. */
function streams(app: FastifyInstance, parts: ApiParts, events: EventHub): void {
  const { agents, migrations } = parts;
  app.get(ROUTES.agents.path, { websocket: true }, (socket, request) =>
    agents.attach(socket, request.ip),
  );
  app.get<{ Params: { id: string } }>(
    ROUTES.watchMigration.path,
    {
      websocket: true,
      // Before the upgrade, so that an unknown migration is an ordinary 404.
      preValidation: async ({ params }) => void migrations.view(params.id),
    },
    (socket, { params }) => {
      const view = () => migrations.view(params.id);
      streamMigration(socket, view, (changed) => migrations.watch(params.id, changed));
    },
  );
  app.get(ROUTES.events.path, async (request, reply) => {
    const query = ROUTES.events.query.parse(request.query);
    streamEvents(events, query, request, reply);
  });
}

function documents(app: FastifyInstance, metrics: Metrics): void {
  app.get(ROUTES.openapi.path, async () => openapiDocument(VERSION));
  app.get(ROUTES.metrics.path, async (_request, reply) => {
    reply.type(EXPOSITION_TYPE);
    return metrics.text();
  });
}

/** @throws GodwitError `listen.in_use`, `listen.failed` */
export async function listenOn(app: FastifyInstance, { host, port }: Listen): Promise<string> {
  const address = `${host}:${port}`;
  try {
    return await app.listen({ host, port });
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    if (code === 'EADDRINUSE') throw new GodwitError('listen.in_use', { address }, { cause });
    throw new GodwitError('listen.failed', { address, why: message }, { cause });
  }
}
