/**
 * The event stream: the cluster as it is, then what changes, over Server-Sent Events.
 *
 *   GET /v1/events              event: snapshot   everything there is
 *   GET /v1/events?since=ID     event: change     what changed since, then each change as it happens
 *
 * It tells states, not history: an object that changed twice while nobody read is sent once, as it is
 * now. So a slow reader and one that was away are the same case, and neither makes the coordinator
 * keep anything for them. Every event has an id; the last one seen, as `since` or `Last-Event-ID`, goes
 * on behind it. An id that cannot be gone on from (another term, too long ago) gets a snapshot.
 *
 *   id      TERM.REVISION; the revision rises with every change that the stream tells
 *   data    one JSON object, `EventData`
 *
 * A comment line comes every 15 s, so that a connection that is gone is noticed.
 */
import { z } from 'zod';
import { drain, guest, host, migration } from './views.ts';

export const EVENT_KINDS = ['host', 'guest', 'migration', 'drain'] as const;
export type EventKind = (typeof EVENT_KINDS)[number];

export const eventsQuery = z.strictObject({
  since: z
    .string()
    .regex(/^\d+\.\d+$/, 'not the id of an event')
    .optional()
    .describe('Id of the last event seen.'),
  kinds: z
    .string()
    .regex(
      /^(host|guest|migration|drain)(,(host|guest|migration|drain))*$/,
      `some of ${EVENT_KINDS.join(',')}`,
    )
    .optional()
    .describe('Comma-separated: host, guest, migration, drain. Absent: all.'),
});

const gone = z
  .array(z.string())
  .describe('Names (of a drain: its host), or ids of migrations, that do not exist any more.');

/** Same shape for a snapshot, where `gone` is empty and an object that is not listed is no more. */
export const eventData = z.strictObject({
  revision: z.int().min(0),
  atMs: z.int(),
  hosts: z.array(host),
  guests: z.array(guest),
  migrations: z.array(migration),
  drains: z.array(drain).describe('The newest of each host that was ever drained or restored.'),
  gone: z.strictObject({ hosts: gone, guests: gone, migrations: gone, drains: gone }),
});
export type EventData = z.infer<typeof eventData>;
