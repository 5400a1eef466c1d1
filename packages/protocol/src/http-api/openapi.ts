/**
 * The OpenAPI 3.1 document of the HTTP API, made from routes.ts and the schemas it names.
 *
 *   routes.ts, requests.ts, views.ts --> [openapi] --> GET /openapi.json
 *
 * Pure. Nothing is written by hand twice, so the document cannot say what the server does not do.
 */
import { z } from 'zod';
import { API_VERSION, API_VERSION_HEADER } from '../limits.ts';
import { eventData } from './events.ts';
import * as requests from './requests.ts';
import { ROUTES, type Route, type RouteId } from './routes.ts';
import * as views from './views.ts';

type Json = { [key: string]: unknown };

/** Schemas with a name of their own in the document; every other one stands where it is used. */
const NAMED: { readonly [name: string]: z.ZodType } = {
  Status: views.status,
  Host: views.host,
  Guest: views.guest,
  GuestDetail: views.guestDetail,
  AuditResult: views.auditResult,
  CheckpointResult: views.checkpointResult,
  ConsoleAddress: views.consoleAddress,
  Migration: views.migration,
  MovePlan: views.movePlan,
  MoveLimits: views.moveLimits,
  Drain: views.drain,
  DrainPlan: views.drainPlan,
  Prediction: views.prediction,
  Event: eventData,
  Error: views.errorBody,
  CreateGuestRequest: requests.createGuestRequest,
  MigrateRequest: requests.migrateRequest,
  DrainRequest: requests.drainRequest,
  CordonRequest: requests.cordonRequest,
  LimitsRequest: requests.limitsRequest,
  RateRequest: requests.rateRequest,
  FenceRequest: requests.fenceRequest,
  DiscardRequest: requests.discardRequest,
};

/** @param version of the release that serves it */
export function openapiDocument(version: string): Json {
  const paths: { [path: string]: Json } = {};
  for (const [id, route] of Object.entries<Route>(ROUTES)) {
    const path = route.path.replace(/:(\w+)/g, '{$1}');
    paths[path] = { ...paths[path], [route.method.toLowerCase()]: operation(id as RouteId, route) };
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'Godwit coordinator',
      version,
      description:
        `Version ${API_VERSION} of the API: the first part of every path, and the header ` +
        `${API_VERSION_HEADER} of every answer. Fields may be added to answers at any time; ignore those you ` +
        'do not know. Units stand in the names; ...AtMs is Unix time in milliseconds.',
    },
    security: [{ token: [] }, {}],
    paths,
    components: {
      schemas: componentSchemas(),
      securitySchemes: {
        token: {
          type: 'http',
          scheme: 'bearer',
          description: 'The cluster token; none is needed when the coordinator has none.',
        },
      },
    },
  };
}

function operation(id: RouteId, route: Route): Json {
  const names = [...route.path.matchAll(/:(\w+)/g)].map((match) => match[1]!);
  const inPath = names.map((name) => ({
    name,
    in: 'path',
    required: true,
    schema: { type: 'string' },
  }));
  const parameters = [...inPath, ...queryParameters(route.query)];
  return {
    operationId: id,
    tags: [route.tag],
    summary: route.what,
    ...(parameters.length > 0 && { parameters }),
    ...(route.body && {
      requestBody: { required: true, content: json(schemaOf(route.body, 'input')) },
    }),
    responses: {
      ...answerOf(route),
      default: { description: 'What went wrong.', content: json(reference('Error')) },
    },
  };
}

function answerOf({ answer }: Route): Json {
  const stream = { 'text/event-stream': { schema: reference('Event') } };
  switch (answer) {
    case 'webSocket':
      return { 101: { description: 'The connection becomes a WebSocket.' } };
    case 'eventStream':
      return { 200: { description: 'Events, for as long as the reader stays.', content: stream } };
    case 'prometheus':
      return {
        200: { description: 'Text exposition format.', content: { 'text/plain': {} } },
      };
    case 'openapi':
      return { 200: { description: 'OpenAPI 3.1.', content: json({ type: 'object' }) } };
    default:
      return { 200: { description: 'Done.', content: json(schemaOf(answer, 'output')) } };
  }
}

function queryParameters(query: z.ZodType | undefined): Json[] {
  if (!(query instanceof z.ZodObject)) return [];
  return Object.entries(query.shape as { [name: string]: z.ZodType }).map(([name, schema]) => ({
    name,
    in: 'query',
    required: false,
    schema: plain(schema, 'input'),
  }));
}

function json(schema: Json): Json {
  return { 'application/json': { schema } };
}

function reference(name: string): Json {
  return { $ref: `#/components/schemas/${name}` };
}

function schemaOf(schema: z.ZodType, io: 'input' | 'output'): Json {
  if (schema instanceof z.ZodArray) {
    return { type: 'array', items: schemaOf(schema.element as z.ZodType, io) };
  }
  const named = Object.entries(NAMED).find(([, each]) => each === schema);
  return named ? reference(named[0]) : plain(schema, io);
}

function componentSchemas(): Json {
  const asked = new Set<z.ZodType>(Object.values(requests));
  return Object.fromEntries(
    Object.entries(NAMED).map(([name, schema]) => [
      name,
      plain(schema, asked.has(schema) ? 'input' : 'output', schema),
    ]),
  );
}

/**
 * JSON Schema of a schema, with the named ones inside it as references.
 * @param whole the named schema that is being written out itself
 */
function plain(schema: z.ZodType, io: 'input' | 'output', whole?: z.ZodType): Json {
  const registry = z.registry<{ id: string }>();
  for (const [name, each] of Object.entries(NAMED)) {
    if (each !== whole) registry.add(each, { id: name });
  }
  const {
    $schema: _schema,
    $defs: _defs,
    ...rest
  } = z.toJSONSchema(schema, {
    io,
    metadata: registry,
    override: ({ zodSchema, jsonSchema }) => {
      // Answers may grow; only what a client sends is held to the letter.
      if (io === 'output') delete jsonSchema.additionalProperties;
      // The range of a JavaScript integer says nothing about the figure.
      if (jsonSchema.maximum === Number.MAX_SAFE_INTEGER) delete jsonSchema.maximum;
      if (jsonSchema.minimum === Number.MIN_SAFE_INTEGER) delete jsonSchema.minimum;
      const { description } = z.globalRegistry.get(zodSchema as unknown as z.ZodType) ?? {};
      if (description !== undefined) jsonSchema.description = description;
    },
  }) as Json;
  return JSON.parse(JSON.stringify(rest).replaceAll('"#/$defs/', '"#/components/schemas/')) as Json;
}
