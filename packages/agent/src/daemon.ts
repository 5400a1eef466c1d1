/**
 * Process entry of the daemon: the agent itself, under its supervisor.
 *
 *   supervisor (main.ts) --spawn, same arguments--> [daemon] --IPC: alive, ready | failed--> supervisor
 *
 * Runs in a process group of its own, so that a Ctrl-C on the terminal reaches the supervisor alone. If
 * the supervisor dies the daemon goes on with its guests; it only notes it. The only `process.exit` of
 * the daemon is here.
 */
import { randomBytes } from 'node:crypto';
import { type ErrorData, GodwitError } from '@godwit/protocol';
import { Agent } from './agent.ts';
import { whySmallPages } from './guest/huge-pages.ts';
import { leave } from './leaving.ts';
import { openLog } from './log.ts';
import { createMigrations } from './migration/manager.ts';
import { rehearse } from './migration/rehearsal.ts';
import { parseOptions } from './options.ts';
import { CoordinatorSeen } from './state/coordinator-seen.ts';
import { Journal } from './state/journal.ts';
import { StateLock } from './state/lock.ts';
import { warmUp } from './thread.ts';
import { WARM_THREADS } from './warm-threads.ts';

/** What the daemon tells its supervisor. */
export type DaemonMessage =
  /** Holds the lock; its journal is `journal-INCARNATION` from now on. */
  | { readonly type: 'alive'; readonly incarnation: string }
  | { readonly type: 'ready'; readonly control: string }
  /** It will end, because it was asked to: not to be restarted. */
  | { readonly type: 'ending' }
  | { readonly type: 'failed'; readonly error: ErrorData };

/** Guests, threads and sockets are gone within this, or the process ends without waiting for them. */
const CLOSE_LIMIT_MS = 8_000;

function tell(message: DaemonMessage): Promise<void> {
  return new Promise((resolve) => {
    if (!process.connected) return resolve();
    // A supervisor that died meanwhile is an error of the channel, not of ours.
    process.send?.(message, undefined, {}, () => resolve());
  });
}

async function run(): Promise<void> {
  const options = parseOptions(process.argv.slice(2), process.env);
  const log = openLog(options, 'agent');
  const lock = StateLock.take(options.stateDir);
  const incarnation = randomBytes(8).toString('hex');
  const deaths = Journal.readDeaths(options.stateDir, incarnation);
  const journal = Journal.open(options.stateDir, incarnation, options.durable);
  await tell({ type: 'alive', incarnation });
  const seen = CoordinatorSeen.open(options.stateDir, options.durable);
  const agent = new Agent({ options, incarnation, journal, seen, deaths, log, createMigrations });
  endWhenAsked(agent, options.drainTimeoutMs, async () => {
    await agent.close();
    journal.close();
    seen.close();
    lock.release();
  });
  await agent.start();
  log.info({ incarnation, control: agent.controlAddress, deaths: deaths.length }, 'agent is ready');
  const why = whySmallPages();
  if (why !== undefined) log.warn({ why }, 'guests have small pages: each move takes longer');
  await tell({ type: 'ready', control: agent.controlAddress });
  warmUp(WARM_THREADS)
    .then(() => rehearse())
    .catch((error) => log.warn({ err: error }, 'not warmed up'));
}

/**
 * SIGTERM: its guests go elsewhere first, then it ends. SIGINT, the coordinator's `shutdown` and a
 * second SIGTERM: at once, with the guests that are here.
 */
function endWhenAsked(agent: Agent, drainMs: number, close: () => Promise<void>): void {
  const { log } = agent;
  const atOnce = new AbortController();
  let isLeaving = false;
  let isEnding = false;
  const end = (why: string) => {
    if (isEnding) return;
    isEnding = true;
    atOnce.abort();
    log.info({ why }, 'ending, with all guests that are here');
    setTimeout(() => process.exit(1), CLOSE_LIMIT_MS).unref();
    tell({ type: 'ending' })
      .then(close)
      .then(
        () => process.exit(0),
        (error) => {
          log.error({ err: error }, 'not ended cleanly');
          process.exit(1);
        },
      );
  };
  process.on('SIGTERM', () => {
    if (isLeaving || drainMs === 0) return end('SIGTERM');
    isLeaving = true;
    leave(agent, drainMs, atOnce.signal).then(() => end('SIGTERM'));
  });
  process.on('SIGINT', () => end('SIGINT'));
  agent.onShutdown(() => end('shutdown by the coordinator'));
  process.on('disconnect', () => {
    if (!isEnding) log.warn('the supervisor is gone; guests run on');
  });
  process.on('uncaughtException', (error) => {
    log.fatal({ err: error }, 'crashed');
    process.exit(70);
  });
}

// An IPC channel whose other end is gone reports it as an error event of the process's channel.
process.on('error', () => {});
run().catch(async (thrown) => {
  await tell({ type: 'failed', error: GodwitError.from(thrown).toData() });
  process.exit(GodwitError.from(thrown).exit);
});
