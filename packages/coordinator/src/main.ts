/**
 * The coordinator's process: options, the ready line, signals and the exit code.
 *
 *   node main.ts --state-dir DIR [--listen 127.0.0.1:7400] [--token T | --token-file F] [--log-level L]
 *                [--log-file F] [--test-faults]
 *
 * Prints one JSON line when it serves: {"ready":true,"url","term","pid"}. What keeps it from
 * starting is one line `error: ...` and one `hint: ...` on stderr, with the error table's exit code.
 * SIGTERM and SIGINT end this process only; agents and guests go on without it. The only file of
 * this package that ends the process.
 */
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import {
  clusterToken,
  GodwitError,
  makeTokenFile,
  type TokenOrigin,
  tokenFile,
} from '@godwit/protocol';
import { checkListen, type Listen, parseListen } from './api/access.ts';
import { Coordinator } from './coordinator.ts';
import { FaultPoints } from './fault-points.ts';
import { LOG_LEVELS, type Logger, type LogLevel, makeLog } from './log.ts';
import { loadRecords } from './records.ts';
import { Recovery } from './recovery/recovery.ts';
import { makeRecoveryServer } from './recovery/recovery-server.ts';
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
      'token-file': text,
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
    token: takeToken({ token: given('token'), file: given('token-file') }),
    hasTestFaults: values['test-faults'] === true,
    logLevel,
    logFile: given('log-file'),
  };
}

/** The coordinator is the one that makes the cluster's token where there is none yet. */
function takeToken(origin: TokenOrigin): string | undefined {
  const file = tokenFile(origin, process.env);
  if (file !== undefined) makeTokenFile(file);
  return clusterToken(origin, process.env);
}

/** What answers on the port: the coordinator, or the recovery of its store. */
interface Standing {
  readonly store: SqliteStore;
  readonly server: { listen(listen: Listen): Promise<string> };
  /** All but the store. */
  close(): Promise<void>;
}

interface Turns {
  /** The store is behind, or is so no more: everything begins anew from what is on the disk. */
  readonly again: () => void;
  readonly shutdown: () => void;
}

async function stand(options: Options, log: Logger, turns: Turns): Promise<Standing> {
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
  const { token } = options;
  if (store.isBehind) {
    log.error('the store went back in time; nothing is decided until it is recovered');
    const records = await loadRecords(store);
    const recovery = new Recovery({ records, log, done: turns.again });
    const server = makeRecoveryServer({ recovery, store, token, log });
    const close = async (): Promise<void> => {
      recovery.close();
      await server.close();
    };
    return { store, server, close };
  }
  const faults = options.hasTestFaults ? new FaultPoints(options.stateDir) : undefined;
  const { again: onBehind, shutdown: onShutdown } = turns;
  const coordinator = await Coordinator.start({ store, log, token, faults, onBehind, onShutdown });
  return { store, server: coordinator.server, close: () => coordinator.close() };
}

async function main(): Promise<void> {
  const options = parseOptions(process.argv.slice(2));
  let listen = parseListen(options.listen);
  checkListen(listen, options.token);
  const log = makeLog(options.logLevel, options.logFile);
  let standing: Standing;
  let isEnding = false;
  const close = async (): Promise<void> => {
    await standing.close();
    await standing.store.close();
  };
  const end = (why: string): void => {
    if (isEnding) return;
    isEnding = true;
    log.info({ why }, 'ending');
    close().then(() => process.exit(0), fail);
  };
  const begin = async (): Promise<string> => {
    const turns = { again: () => void again().catch(fail), shutdown: () => end('shutdown') };
    standing = await stand(options, log, turns);
    const url = await standing.server.listen(listen);
    const { term, id, revision } = standing.store;
    log.info({ url, term, store: id, revision }, 'ready');
    return url;
  };
  const again = async (): Promise<void> => {
    if (isEnding) return;
    await close();
    await begin();
  };
  // A store that cannot be written, or a mistake of ours: stop at once, the record is whole.
  process.on('uncaughtException', (thrown) => {
    log.fatal({ err: thrown }, 'ends by an error');
    fail(thrown);
  });
  process.on('SIGTERM', () => end('SIGTERM'));
  process.on('SIGINT', () => end('SIGINT'));

  const url = await begin();
  // The kernel may have chosen the port: it stays the same when the coordinator begins anew.
  listen = { ...listen, port: Number(new URL(url).port) || listen.port };
  const { term } = standing!.store;
  process.stdout.write(`${JSON.stringify({ ready: true, url, term, pid: process.pid })}\n`);
}

function fail(thrown: unknown): never {
  const error = GodwitError.from(thrown);
  process.stderr.write(`error: ${error.message}\n`);
  if (error.hint !== undefined) process.stderr.write(`hint: ${error.hint}\n`);
  process.exit(error.exit);
}

await main().catch(fail);
