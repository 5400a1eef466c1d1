/**
 * The coordinator's process: options, the ready line, signals and the exit code.
 *
 *   node main.ts --state-dir DIR [--listen 127.0.0.1:7400] [--token T] [--log-level L]
 *                [--log-file F] [--test-faults]
 *
 * Prints one JSON line when it serves: {"ready":true,"url","term","pid"}. What keeps it from
 * starting is one line `error: ...` and one `hint: ...` on stderr, with the error table's exit code.
 * SIGTERM and SIGINT end this process only; agents and guests go on without it. The only file of
 * this package that ends the process.
 */
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { GodwitError } from '@godwit/protocol';
import { checkListen, parseListen } from './api/access.ts';
import { Coordinator } from './coordinator.ts';
import { FaultPoints } from './fault-points.ts';
import { LOG_LEVELS, type LogLevel, makeLog } from './log.ts';
import { SqliteStore } from './store/sqlite-store.ts';

const STORE_FILE = 'state.sqlite';

interface Options {
  readonly stateDir: string;
  readonly listen: string;
  readonly token: string | undefined;
  readonly hasTestFaults: boolean;
  readonly logLevel: LogLevel;
  readonly logFile: string | undefined;
}

/** @throws GodwitError `request.invalid` */
function parseOptions(args: string[]): Options {
  const text = { type: 'string' } as const;
  const usage = (why: string) => new GodwitError('request.invalid', { why });
  let values: { [name: string]: string | boolean | undefined };
  try {
    const options = {
      'state-dir': text,
      listen: text,
      token: text,
      'test-faults': { type: 'boolean' },
      'log-level': text,
      'log-file': text,
    } as const;
    ({ values } = parseArgs({ args, options }));
  } catch (thrown) {
    throw usage((thrown as Error).message);
  }
  const given = (name: string) => values[name] as string | undefined;
  const stateDir = given('state-dir');
  if (stateDir === undefined) throw usage('--state-dir DIR is missing');
  const logLevel = given('log-level') ?? 'info';
  const isLevel = (level: string): level is LogLevel => LOG_LEVELS.includes(level as LogLevel);
  if (!isLevel(logLevel)) throw usage(`--log-level ${logLevel}: one of ${LOG_LEVELS.join(', ')}`);
  return {
    stateDir,
    listen: given('listen') ?? '127.0.0.1:7400',
    // An empty variable is what a compose file without a token gives.
    token: given('token') ?? (process.env.GODWIT_TOKEN || undefined),
    hasTestFaults: values['test-faults'] === true,
    logLevel,
    logFile: given('log-file'),
  };
}

async function main(): Promise<void> {
  const options = parseOptions(process.argv.slice(2));
  const listen = parseListen(options.listen);
  checkListen(listen, options.token);
  const log = makeLog(options.logLevel, options.logFile);
  const store = new SqliteStore(join(options.stateDir, STORE_FILE), {
    stalled: (error) => {
      if (error === undefined) log.warn('the store can be written again');
      else log.error({ hint: error.hint }, `waiting: ${error.message}`);
    },
    failed: (error) => {
      log.fatal({ hint: error.hint }, error.message);
      fail(error);
    },
  });
  const coordinator = await Coordinator.start({
    store,
    log,
    token: options.token,
    faults: options.hasTestFaults ? new FaultPoints(options.stateDir) : undefined,
    onShutdown: () => end('shutdown'),
  });

  let isEnding = false;
  const end = (why: string): void => {
    if (isEnding) return;
    isEnding = true;
    log.info({ why }, 'ending');
    coordinator.close().then(() => process.exit(0), fail);
  };
  // A store that cannot be written, or a mistake of ours: stop at once, the record is whole.
  process.on('uncaughtException', (thrown) => {
    log.fatal({ err: thrown }, 'ends by an error');
    fail(thrown);
  });
  process.on('SIGTERM', () => end('SIGTERM'));
  process.on('SIGINT', () => end('SIGINT'));

  const url = await coordinator.server.listen(listen);
  log.info({ url, term: store.term, store: store.id, revision: store.revision }, 'ready');
  process.stdout.write(
    `${JSON.stringify({ ready: true, url, term: store.term, pid: process.pid })}\n`,
  );
}

function fail(thrown: unknown): never {
  const error = GodwitError.from(thrown);
  process.stderr.write(`error: ${error.message}\n`);
  if (error.hint !== undefined) process.stderr.write(`hint: ${error.hint}\n`);
  process.exit(error.exit);
}

await main().catch(fail);
