/**
 * `npm run demo`: eighteen live migrations of two guests in use, and the proof that nothing was lost.
 *
 *   -- --json    the last line is {"ok", "migrations"}; the show goes to stderr
 *   -- --linux   then nine more, of a Linux in use; adds "linux": {"bootMs", "memoryMiB"} to the last line
 *   -- --quick   a smaller workload, two hosts
 *   -- --keep    leaves the cluster running at the end until Ctrl-C
 *   -- --cluster URL   on the hosts of a cluster that is there (GODWIT_TOKEN or GODWIT_TOKEN_FILE)
 *
 * Drives processes only: a coordinator and three agents, over loopback, as a user would. Ctrl-C at any
 * moment takes everything down again.
 */
import { parseArgs } from 'node:util';
import {
  ApiClient,
  CommandError,
  durationText,
  EXIT,
  followPulse,
  GapMeter,
  type Io,
  MigrationView,
  printError,
  processIo,
  usageError,
} from '@godwit/cli';
import { type AuditResult, clusterToken, type Migration } from '@godwit/protocol';
import type { ClientVerdict } from './kv-traffic.ts';
import type { LinuxVerdict } from './linux-act.ts';
import {
  fullScale,
  linuxPlan,
  type PlannedMove,
  plan,
  quickScale,
  RACE_RATE_MIBPS,
  RATE_MIBPS,
  type Scale,
  WORKLOAD,
} from './plan.ts';
import {
  complaint,
  type MoveResult,
  moveTable,
  recordOf,
  TRY_NEXT,
  verdictText,
} from './report.ts';
import { Stage } from './stage.ts';

interface Options {
  readonly json: boolean;
  readonly quick: boolean;
  readonly keep: boolean;
  readonly linux: boolean;
  readonly cluster?: string;
}

/** A whole move of the demo takes seconds; one that takes this long has failed. */
const MOVE_DEADLINE_MS = 60_000;

class Demo {
  readonly #io: Io;
  readonly #options: Options;
  readonly #stop: AbortSignal;
  readonly #stage: Stage;
  readonly results: MoveResult[] = [];
  linux: LinuxVerdict | undefined;

  constructor(io: Io, options: Options, stop: AbortSignal) {
    this.#io = io;
    this.#options = options;
    this.#stop = stop;
    this.#stage = new Stage(options.cluster === undefined ? undefined : clientOf(options.cluster));
  }

  /** @returns whether everything was verified and nothing was lost */
  async run(): Promise<boolean> {
    const startedAtMs = performance.now();
    const { cluster } = this.#options;
    if (this.#options.linux) await this.#stage.prepareLinux();
    this.#say(cluster ? `on ${cluster}\n` : 'starting a coordinator and three agents\n');
    const hosts = await this.#stage.openCluster(this.#stop);
    const scale = this.#options.quick ? quickScale(hosts) : fullScale(hosts);
    this.#say(
      'creating two guests: kv, a machine in use, and mem, a workload that writes 50 MiB/s\n\n',
    );
    await this.#stage.openGuests(scale);
    await this.#moveAll(plan(scale));
    this.#say('\nchecking: every page of mem, every key of kv\n\n');
    const client = await this.#stage.traffic.settle();
    const audit = await this.#stage.api.auditGuest(WORKLOAD);
    if (this.#options.linux) this.linux = await this.#playLinux(scale);
    const isGood = this.#report(audit, client);
    this.#say(`${durationText(performance.now() - startedAtMs)} in all\n`);
    if (this.#options.keep) await this.#keep();
    return isGood;
  }

  close(): Promise<void> {
    return this.#stage.close();
  }

  async #moveAll(moves: readonly PlannedMove[]): Promise<void> {
    for (const [i, move] of moves.entries()) {
      this.#say(`${i + 1}/${moves.length}  `);
      this.results.push(await this.#move(move));
    }
  }

  /** @throws Error it does not boot, or something of it was lost */
  async #playLinux(scale: Scale): Promise<LinuxVerdict> {
    this.#say('booting Linux, and starting a checksummer, a shell loop and a sleeper\n');
    await this.#stage.openLinux(scale.hosts[0]!, this.#stop);
    const { linux } = this.#stage;
    this.#say(`up in ${durationText(linux.bootMs)}\n\n`);
    await this.#moveAll(linuxPlan(scale));
    this.#say('\nasking its kernel what it noticed\n\n');
    return linux.verdict();
  }

  async #move(move: PlannedMove): Promise<MoveResult> {
    const { kind, isRace, request } = move;
    if (isRace) await this.#setRace(kind, true);
    const over = new AbortController();
    const meter = this.#meterOf(kind);
    const { controls, api } = this.#stage;
    const pulse =
      kind === 'workload' && followPulse(WORKLOAD, controls, api.headers, meter, over.signal);
    meter.begin();
    try {
      const migration = await this.#follow((await this.#stage.api.migrate(request)).id);
      const outsideGapMs = meter.end();
      const result = { kind, migration, outsideGapMs, isRace };
      const why = complaint(result);
      if (why !== undefined) throw failed(why);
      if (kind === 'linux') await this.#stage.linux.check();
      else this.#stage.traffic.check();
      return result;
    } finally {
      over.abort();
      await pulse;
      if (isRace && !this.#stop.aborted) await this.#setRace(kind, false);
    }
  }

  /** The workload is asked for its pulse; the others are heard by themselves. */
  #meterOf(kind: PlannedMove['kind']): GapMeter {
    if (kind === 'workload') return new GapMeter();
    return kind === 'machine' ? this.#stage.kvGap : this.#stage.linux.gap;
  }

  async #follow(id: string): Promise<Migration> {
    const view = new MigrationView({
      write: (text) => this.#say(text),
      isTty: this.#options.json ? this.#io.errIsTty : this.#io.outIsTty,
      columns: this.#io.columns,
    });
    const tooLong = AbortSignal.timeout(MOVE_DEADLINE_MS);
    let last: Migration | undefined;
    try {
      for await (const update of this.#stage.api.watchMigration(
        id,
        AbortSignal.any([this.#stop, tooLong]),
      )) {
        last = update;
        view.update(update);
      }
    } finally {
      view.stop();
    }
    if (this.#stop.aborted) throw interrupted();
    if (last === undefined || tooLong.aborted) {
      throw failed(
        `migration ${id} is ${last?.state ?? 'unheard of'} after ${MOVE_DEADLINE_MS / 1000} s`,
      );
    }
    return last;
  }

  /** From here on, or no longer, the guest dirties memory faster than its move's link can carry. */
  async #setRace(kind: PlannedMove['kind'], isRace: boolean): Promise<void> {
    if (kind === 'machine') this.#stage.traffic.setRace(isRace);
    else await this.#stage.api.setRate(WORKLOAD, isRace ? RACE_RATE_MIBPS : RATE_MIBPS);
  }

  #report(audit: AuditResult, client: ClientVerdict): boolean {
    const isSound = audit.ok && audit.writes >= audit.witnessWrites;
    const complaints = [...(isSound ? [] : ['the audit of mem']), ...(this.linux?.errors ?? [])];
    this.#say(moveTable(this.results));
    this.#say(verdictText(audit, client, this.linux, complaints));
    if (complaints.length === 0) this.#say(TRY_NEXT);
    return complaints.length === 0 && client.ok;
  }

  async #keep(): Promise<void> {
    this.#say(
      `\nthe cluster stays until Ctrl-C:  export GODWIT_COORDINATOR=${this.#stage.api.url}\n`,
    );
    await new Promise<void>((resolve) => {
      if (this.#stop.aborted) resolve();
      else this.#stop.addEventListener('abort', () => resolve());
    });
  }

  /** With --json stdout is for the result alone. */
  #say(text: string): void {
    if (this.#options.json) this.#io.err(text);
    else this.#io.out(text);
  }
}

/** The cluster's token comes from the environment, as for every command. */
function clientOf(url: string): ApiClient {
  return new ApiClient({ url, token: clusterToken({}, process.env) });
}

function failed(message: string): CommandError {
  return new CommandError({ code: 'demo.failed', exit: EXIT.failed, message });
}

function interrupted(): CommandError {
  return new CommandError({ code: 'interrupted', exit: EXIT.interrupted, message: 'interrupted' });
}

function readOptions(io: Io): Options | undefined {
  const flag = { type: 'boolean', default: false } as const;
  try {
    const cluster = { type: 'string' } as const;
    const flags = { json: flag, quick: flag, keep: flag, linux: flag };
    return parseArgs({ options: { ...flags, cluster } }).values;
  } catch (error) {
    const [message = ''] = (error as Error).message.split('. ');
    printError(
      io,
      usageError(message, 'npm run demo [-- --json --quick --keep --linux --cluster URL]'),
      false,
    );
    return undefined;
  }
}

/** The last line for scripts. */
function summary(ok: boolean, { linux, results }: Demo): object {
  const { bootMs, memoryMiB } = linux ?? {};
  const booted = linux && { linux: { bootMs: Math.round(bootMs!), memoryMiB } };
  return { ok, ...booted, migrations: results.map(recordOf) };
}

async function main(): Promise<number> {
  const io = processIo();
  const options = readOptions(io);
  if (options === undefined) return EXIT.usage;
  const stop = new AbortController();
  io.onSignal(() => stop.abort());
  // A mistake of ours must not leave processes behind either.
  const crash = Promise.withResolvers<never>();
  process.on('uncaughtException', (error) => crash.reject(error));
  const demo = new Demo(io, options, stop.signal);
  let ok = false;
  let exit: number = EXIT.failed;
  try {
    ok = await Promise.race([demo.run(), crash.promise]);
    exit = ok ? EXIT.ok : EXIT.failed;
  } catch (thrown) {
    const error = stop.signal.aborted ? interrupted() : CommandError.from(thrown);
    printError(io, error, false);
    exit = error.exit;
  }
  await demo.close();
  if (options.json) io.out(`${JSON.stringify(summary(ok, demo))}\n`);
  return exit;
}

process.exitCode = await main();
