/**
 * The agent's log: one JSON object a line, to stderr or a file, with host, guest and migration as
 * fields. Main thread only; worker threads post what they have to say.
 *
 * The daemon outlives its supervisor and whoever reads its stderr: a reader that is gone must not
 * end it, so write errors of the destination are dropped.
 */
import { destination, type Logger, pino } from 'pino';
import type { AgentOptions } from './options.ts';

export type Log = Logger;

export function openLog(
  options: Pick<AgentOptions, 'name' | 'logLevel' | 'logFile'>,
  role: 'agent' | 'supervisor',
): Log {
  // Synchronous: the last lines before a kill are the ones that are wanted.
  const sink = destination({ dest: options.logFile ?? 2, sync: true, mkdir: true });
  sink.on('error', () => {});
  const base = { role, host: options.name, pid: process.pid };
  return pino({ level: options.logLevel, base, timestamp: pino.stdTimeFunctions.isoTime }, sink);
}
