/**
 * The coordinator's log: pino, one JSON line an event, to stderr or a file.
 *
 * stdout belongs to the ready line. Lines about a migration or a guest carry `migration` and
 * `guest`, so that one `grep` tells its whole story.
 */
import { destination, type Logger, pino } from 'pino';

export type { Logger } from 'pino';

export const LOG_LEVELS = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

/** @param file appended to; absent: stderr. Synchronous, so that the last lines before a crash are there. */
export function makeLog(level: LogLevel, file?: string): Logger {
  const stream =
    file === undefined
      ? destination({ fd: 2, sync: true })
      : destination({ dest: file, append: true, mkdir: true, sync: true });
  // A disk that is full takes the log first; that must end nothing.
  stream.on('error', () => {});
  return pino({ level, base: { service: 'coordinator', pid: process.pid } }, stream);
}
