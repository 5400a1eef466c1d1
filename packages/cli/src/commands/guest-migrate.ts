/**
 * `godwit guest migrate`: asks for the move, then follows it. The job is the coordinator's; this
 * process may go away at any moment without harm.
 */
import type { Command } from 'commander';
import { type Context, does, leaf, withApi } from '../command.ts';
import { EXIT } from '../errors.ts';
import { headText } from '../migration-text.ts';
import { type MoveOptions, moveRequest, withMoveOptions } from '../move-options.ts';
import { jsonDocument } from '../output.ts';
import { movePlanText } from '../plan-text.ts';
import { followMigration } from '../progress.ts';

interface MigrateOptions extends MoveOptions {
  to: string;
  detach?: boolean;
  dryRun?: boolean;
}

export function addGuestMigrate(guest: Command, context: Context): void {
  const command = leaf(guest, 'migrate <guest>', 'Move a running guest to another host', [
    'godwit guest migrate web1 --to b',
    'godwit guest migrate web1 --to b --dry-run',
    'godwit guest migrate mem1 --to c --mode postcopy --verify',
    'godwit guest migrate mem1 --to c --max-bandwidth 200MiB/s --detach',
  ]).requiredOption('--to <host>', 'the target');
  withMoveOptions(command)
    .option('--dry-run', 'say what it would cost and move nothing')
    .option('-d, --detach', 'print the id and do not wait');
  does<MigrateOptions>(context, withApi(command), async ({ api, args, io, options }) => {
    const request = { guest: args[0]!, to: options.to, ...moveRequest(options) };
    if (options.dryRun) {
      const plan = await api.planMigration(request);
      io.out(options.json ? jsonDocument(plan) : movePlanText(plan));
      return EXIT.ok;
    }
    const started = await api.migrate(request);
    if (options.detach) {
      io.out(options.json ? jsonDocument(started) : `${started.id}\n`);
      if (!options.json)
        io.err(`${headText(started)}\nfollow it: godwit migration watch ${started.id}\n`);
      return EXIT.ok;
    }
    return followMigration(io, api, started.id, options.json ? 'document' : 'text');
  });
}
