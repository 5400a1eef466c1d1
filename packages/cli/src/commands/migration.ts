/**
 * `godwit migration`: what was moved, is being moved, and why each step was taken.
 */
import type { Migration } from '@godwit/protocol';
import type { Command } from 'commander';
import { hasEnded } from '../api-client.ts';
import { type Context, does, group, leaf, withApi } from '../command.ts';
import { bytesText, durationText, linkText, stallText, timeText } from '../format.ts';
import { migrationText } from '../migration-text.ts';
import { jsonDocument, table } from '../output.ts';
import { followMigration } from '../progress.ts';
import { type Listed, watching, withWatch } from '../watching.ts';

export function addMigrationCommands(program: Command, context: Context): void {
  const migration = group(program, 'migration', 'migrations: list, show, watch, cancel');

  const ls = leaf(migration, 'ls', 'List the migrations, newest last', [
    'godwit migration ls',
    'godwit migration ls --guest web1 --open',
  ])
    .option('--guest <name>', 'only those of this guest')
    .option('--open', 'only those under way');
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
        from: (world) =>
          [...world.migrations.values()]
            .filter(isWanted)
            .sort((x, y) => x.startedAtMs - y.startedAtMs),
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
}

function migrationTable(migrations: readonly Migration[]): string {
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
