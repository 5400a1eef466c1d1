/**
 * One reader of the event stream: Server-Sent Events over its HTTP connection.
 *
 *   event hub --something changed--> [event stream] --snapshot, change--> `--watch`, consoles, curl
 *
 * The reader is a revision and a connection. While the connection takes no more, nothing is written
 * and nothing is kept; when it does again, the reader is told what changed since its revision.
 */
import { EVENTS_ALIVE_MS, GodwitError } from '@godwit/protocol';
import { EVENT_KINDS, type EventKind, type eventsQuery } from '@godwit/protocol/http-api';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { EventHub } from './event-hub.ts';

/** Far above the consoles and scripts of one cluster; a leak of readers is noticed here. */
const READERS_MAX = 256;

/** @throws GodwitError `request.invalid` too many readers */
export function streamEvents(
  hub: EventHub,
  { since, kinds }: ReturnType<typeof eventsQuery.parse>,
  request: FastifyRequest,
  reply: FastifyReply,
): void {
  if (hub.readers >= READERS_MAX) {
    throw new GodwitError('request.invalid', { why: `${READERS_MAX} readers of events already` });
  }
  const wanted = new Set((kinds?.split(',') ?? EVENT_KINDS) as readonly EventKind[]);
  const seen = since ?? request.headers['last-event-id']?.toString();
  reply.hijack();
  const { raw } = reply;
  raw.writeHead(200, {
    ...(reply.getHeaders() as Record<string, string>),
    'content-type': 'text/event-stream; charset=utf-8',
    'cache-control': 'no-store',
    // A proxy that gathers the answer would turn the stream into silence.
    'x-accel-buffering': 'no',
  });
  // The reader's own number; unknown until the hub is up to date, which `watch` sees to.
  let revision: number | undefined;
  const tell = (): void => {
    if (raw.destroyed || raw.writableNeedDrain || revision === hub.revision) return;
    const isWhole = revision === undefined;
    const data = hub.changes(revision, wanted);
    revision = hub.revision;
    if (data === undefined) return;
    const event = isWhole ? 'snapshot' : 'change';
    raw.write(`event: ${event}\nid: ${hub.term}.${revision}\ndata: ${JSON.stringify(data)}\n\n`);
  };
  const end = hub.watch(tell);
  const alive = setInterval(() => !raw.writableNeedDrain && raw.write(':\n\n'), EVENTS_ALIVE_MS);
  raw.on('drain', tell);
  raw.on('close', () => {
    clearInterval(alive);
    end();
  });
  revision = cursor(hub, seen);
  tell();
}

/** Where to go on; undefined: from the beginning. */
function cursor(hub: EventHub, seen: string | undefined): number | undefined {
  const [term, revision] = (seen ?? '').split('.').map(Number);
  return term === hub.term && revision !== undefined && hub.canGoOnFrom(revision)
    ? revision
    : undefined;
}
