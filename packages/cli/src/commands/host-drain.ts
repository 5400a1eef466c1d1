/**
 * `godwit host cordon | uncordon | drain | drains | restore`: maintenance of a host.
 *
 * A drain is the coordinator's job; this process shows the plan, follows it and may go away at any
 * moment without harm. The same command again goes on watching, or tries once more what was left.
 */
import { type Drain, GodwitError } from '@godwit/protocol';
import type { Command } from 'commander';
import type { ApiClient } from '../api-client.ts';
import { type Context, does, leaf, withApi } from '../command.ts';
import { EXIT, usageError } from '../errors.ts';
import type { Io } from '../io.ts';
import { type MoveOptions, moveRequest, withMoveOptions } from '../move-options.ts';
import { jsonDocument, jsonLine } from '../output.ts';
import { drainOutcomeText, drainPlanText, drainProgressText, drainTable } from '../plan-text.ts';
import { type Listed, watching, withWatch } from '../watching.ts';

interface DrainOptions extends MoveOptions {
  dryRun?: boolean;
  detach?: boolean;
  cancel?: boolean;
}

export function addMaintenance(host: Command, context: Context): void {
  const cordon = leaf(host, 'cordon <host>', 'Let no more guests go to a host', [
    'godwit host cordon b --reason "new memory on Friday"',
  ]).option('--reason <text>', 'for the next person who wonders', '');
  does<{ reason: string }>(context, withApi(cordon), async ({ api, args, io, options }) => {
    const changed = await api.cordon(args[0]!, options.reason);
    const said = `host ${changed.name} takes no more guests; its ${changed.guests} stay\n`;
    io.out(options.json ? jsonDocument(changed) : said);
  });

  const uncordon = leaf(host, 'uncordon <host>', 'Let guests go to a host again', [
    'godwit host uncordon b',
  ]);
  does(context, withApi(uncordon), async ({ api, args, io, options }) => {
    const changed = await api.uncordon(args[0]!);
    io.out(options.json ? jsonDocument(changed) : `host ${changed.name} takes guests\n`);
  });

  const drain = leaf(host, 'drain <host>', 'Move every guest of a host elsewhere', [
    'godwit host drain b --dry-run',
    'godwit host drain b',
    'godwit host drain b --cancel',
  ]);
  withMoveOptions(drain)
    .option('--dry-run', 'say where each guest would go and what keeps it; move nothing')
    .option('-d, --detach', 'do not wait')
    .option('--cancel', 'no more moves begin; those under way end, the host stays cordoned');
  does<DrainOptions>(context, withApi(drain), (call) => run('drain', call));

  const drains = leaf(host, 'drains', 'List the newest drain or restore of every host', [
    'godwit host drains',
    'godwit host drains --watch',
  ]);
  does<{ watch?: boolean }>(context, withWatch(withApi(drains)), (call) => {
    const byHost = (list: Iterable<Drain>) => [...list].sort((x, y) => (x.host < y.host ? -1 : 1));
    const listed: Listed<Drain> = {
      kind: 'drain',
      ask: async () => byHost(await call.api.drains()),
      from: (world) => byHost(world.drains.values()),
    };
    return watching(call, listed, drainTable);
  });

  const restore = leaf(
    host,
    'restore <host>',
    'Bring back the guests that were drained from a host',
    ['godwit host restore b --dry-run', 'godwit host restore b'],
  );
  withMoveOptions(restore)
    .option('--dry-run', 'say what would come back and what keeps the rest; move nothing')
    .option('-d, --detach', 'do not wait');
  does<DrainOptions>(context, withApi(restore), (call) => run('restore', call));
}

interface DrainCall {
  readonly api: ApiClient;
  readonly args: readonly string[];
  readonly io: Io;
  readonly options: DrainOptions & { readonly json?: boolean };
}

async function run(kind: Drain['kind'], { api, args, io, options }: DrainCall): Promise<number> {
  const host = args[0]!;
  if (options.cancel && options.dryRun)
    throw usageError('--cancel and --dry-run exclude each other');
  if (options.cancel) {
    const cancelled = await api.cancelDrain(host);
    io.out(options.json ? jsonDocument(cancelled) : drainOutcomeText(cancelled));
    return EXIT.ok;
  }
  const request = moveRequest(options);
  if (options.dryRun || !options.json) {
    const plan = await api.planDrain(host, kind, request);
    io.out(options.json ? jsonDocument(plan) : drainPlanText(plan));
    if (options.dryRun) return EXIT.ok;
  }
  const started = await api.startDrain(host, kind, request);
  if (options.detach) {
    if (options.json) io.out(jsonDocument(started));
    else io.err(`goes on by itself; follow it: godwit host ${kind} ${host}\n`);
    return EXIT.ok;
  }
  return follow({ api, io, host, kind, isJson: options.json ?? false });
}

const PLAIN_EVERY_MS = 1_000;

interface Followed {
  readonly api: ApiClient;
  readonly io: Io;
  readonly host: string;
  readonly kind: Drain['kind'];
  readonly isJson: boolean;
}

/** @returns 0 when it completed, 130 when the watcher was interrupted. @throws CommandError otherwise */
async function follow({ api, io, host, kind, isJson }: Followed): Promise<number> {
  const stop = new AbortController();
  const release = io.onSignal(() => stop.abort());
  let last: Drain | undefined;
  let shownAtMs = Number.NEGATIVE_INFINITY;
  let shown = '';
  try {
    for await (const drain of api.watchDrain(host, stop.signal)) {
      last = drain;
      if (drain.endedAtMs !== undefined) break;
      const text = isJson ? jsonLine(drain) : drainProgressText(drain);
      const isDue = isJson || io.outIsTty || performance.now() - shownAtMs >= PLAIN_EVERY_MS;
      if (text === shown || !isDue) continue;
      shown = text;
      shownAtMs = performance.now();
      if (isJson) io.out(text);
      else if (io.outIsTty) io.out(`\r\x1b[K${text.slice(0, io.columns() - 1)}`);
      else io.out(`  ${text}\n`);
    }
  } finally {
    if (io.outIsTty && !isJson) io.out('\r\x1b[K');
    release();
  }
  if (last?.endedAtMs === undefined) {
    io.err(`stopped watching; it goes on by itself. Again: godwit host ${kind} ${host}\n`);
    return EXIT.interrupted;
  }
  io.out(isJson ? jsonLine(last) : drainOutcomeText(last));
  return outcome(last);
}

function outcome(drain: Drain): number {
  const { host, kind, state } = drain;
  if (state === 'completed') return EXIT.ok;
  const left = drain.guests.filter((row) => row.state === 'blocked' || row.state === 'lost').length;
  throw new GodwitError('drain.incomplete', { host, kind, state, left });
}
