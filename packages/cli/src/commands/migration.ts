/**
 * `godwit migration`: what was moved, is being moved, and why each step was taken.
 */
import { type Migration, MOVES_PER_CLUSTER_MAX, MOVES_PER_HOST_MAX } from '@godwit/protocol';
import type { Command } from 'commander';
import { hasEnded } from '../api-client.ts';
import { type Context, does, group, leaf, withApi } from '../command.ts';
import { bytesText, durationText, linkText, stallText, timeText } from '../format.ts';
import { migrationText } from '../migration-text.ts';
import { parseCount } from '../options.ts';
import { jsonDocument, table } from '../output.ts';
import { followMigration } from '../progress.ts';
import { type Listed, watching, withWatch } from '../watching.ts';

export function addMigrationCommands(program: Command, context: Context): void {
  const migration = group(program, 'migration', 'migrations: list, show, watch, cancel, limits');

  const ls = leaf(migration, 'ls', 'List the migrations, newest last', [
    'godwit migration ls',
    'godwit migration ls --guest web1 --open',
  ])
    .option('--guest <name>', 'only those of this guest')
    .option('--open', 'only those under way or waiting');
  does<{ guest?: string; open?: boolean; watch?: boolean }>(
    context,
    withWatch(withApi(ls.alias('list'))),
    (call) => {
      const { guest, open } = call.options;
      const filter = { ...(guest !== undefined && { guest }), ...(open && { open }) };
      const isWanted = (m: Migration) =>
        (guest === undefined || m.guest === guest) && !(open && hasEnded(m));
      const listed: Listed<Migration> = {
        kind: 'migration',
        ask: () => call.api.migrations(filter),
        // In the order of the stream: clocks may have been set since the first of them.
        from: (world) => [...world.migrations.values()].filter(isWanted),
      };
      return watching(call, listed, migrationTable);
    },
  );

  const show = leaf(migration, 'show <id>', 'Show one migration and why each step was taken', [
    'godwit migration show m-7Q3F',
  ]);
  does(context, withApi(show), async ({ api, args, io, options }) => {
    const found = await api.migration(args[0]!);
    io.out(options.json ? jsonDocument(found) : migrationText(found));
  });

  const watch = leaf(migration, 'watch <id>', 'Follow a migration until it ends', [
    'godwit migration watch m-7Q3F',
  ]);
  does(context, withApi(watch), ({ api, args, io, options }) =>
    followMigration(io, api, args[0]!, options.json ? 'stream' : 'text'),
  );

  const cancel = leaf(
    migration,
    'cancel <id>',
    'Cancel a migration; the guest stays at its source',
    ['godwit migration cancel m-7Q3F'],
  );
  does(context, withApi(cancel), async ({ api, args, io, options }) => {
    const found = await api.cancelMigration(args[0]!);
    if (options.json) io.out(jsonDocument(found));
    else io.out(`${found.id}  ${found.guest} stays on ${found.source}  ${found.state}\n`);
  });
  addLimits(migration, context);
}

function addLimits(migration: Command, context: Context): void {
  const limits = leaf(migration, 'limits', 'How many moves may be under way at once; sets it', [
    'godwit migration limits',
    'godwit migration limits --per-host 4 --per-cluster 16',
  ])
    .option(
      '--per-host <n>',
      'with one host as source or target',
      parseCount(1, MOVES_PER_HOST_MAX),
    )
    .option('--per-cluster <n>', 'in the whole cluster', parseCount(1, MOVES_PER_CLUSTER_MAX));
  does<{ perHost?: number; perCluster?: number }>(
    context,
    withApi(limits),
    async ({ api, io, options }) => {
      const { perHost, perCluster } = options;
      const isSet = perHost !== undefined || perCluster !== undefined;
      const change = {
        ...(perHost !== undefined && { perHost }),
        ...(perCluster !== undefined && { perCluster }),
      };
      const now = isSet ? await api.setLimits(change) : await api.limits();
      const text = `at once: ${now.perHost} moves a host, ${now.perCluster} in the cluster\n`;
      io.out(options.json ? jsonDocument(now) : text);
    },
  );
}

/** The moves that wait, in their order, and what for; empty when none does. */
function lineText(migrations: readonly Migration[]): string {
  const waiting = migrations.filter(({ queue }) => queue !== undefined);
  if (waiting.length === 0) return '';
  const rows = waiting.map(({ id, guest, priority, drain, queue }) => [
    `${queue?.position} of ${queue?.of}`,
    id,
    guest,
    priority,
    drain ?? '-',
    queue?.reason ?? '',
  ]);
  return `\n${table(['LINE', 'ID', 'GUEST', 'PRIORITY', 'DRAIN', 'WAITS BECAUSE'], rows)}`;
}

function migrationTable(migrations: readonly Migration[]): string {
  return moveTable(migrations) + lineText(migrations);
}

function moveTable(migrations: readonly Migration[]): string {
  return table(
    [
      'ID',
      'GUEST',
      'FROM',
      'TO',
      'MODE',
      'STATE',
      'STARTED',
      'ROUNDS',
      'MOVED',
      'RATE',
      'TOTAL',
      'DOWNTIME',
      'FAULTS',
      'VERIFIED',
    ],
    migrations.map((m) => {
      const r = m.result;
      const verified = r === undefined ? '-' : r.verified ? 'yes' : 'not asked';
      return [
        m.id,
        m.guest,
        m.source,
        m.target,
        m.mode,
        m.state,
        timeText(m.startedAtMs),
        String(r?.rounds ?? m.rounds.length),
        bytesText(r?.bytes ?? m.progress?.bytes ?? 0),
        r ? linkText(r.gbps * 1e9) : '-',
        r ? durationText(r.totalMs) : '-',
        r ? stallText(r.downtimeMs) : '-',
        String(r?.faults ?? m.progress?.faults ?? 0),
        m.verify ? verified : 'not asked',
      ];
    }),
  );
}
