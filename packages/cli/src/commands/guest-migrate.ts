/**
 * `godwit guest migrate`: asks for the move, then follows it. The job is the coordinator's; this
 * process may go away at any moment without harm.
 */
import { CHANNELS_MAX, type Mode } from '@godwit/protocol';
import { type Command, Option } from 'commander';
import { type Context, does, leaf, withApi } from '../command.ts';
import { EXIT } from '../errors.ts';
import { headText } from '../migration-text.ts';
import { parseBandwidth, parseCount, parseDuration } from '../options.ts';
import { jsonDocument } from '../output.ts';
import { followMigration } from '../progress.ts';

interface MigrateOptions {
  to: string;
  mode?: Mode;
  channels?: number;
  maxBandwidth?: number;
  maxDowntime?: number;
  throttle?: boolean;
  verify?: boolean;
  detach?: boolean;
}

export function addGuestMigrate(guest: Command, context: Context): void {
  const command = leaf(guest, 'migrate <guest>', 'Move a running guest to another host', [
    'godwit guest migrate web1 --to b',
    'godwit guest migrate mem1 --to c --mode postcopy --verify',
    'godwit guest migrate mem1 --to c --max-bandwidth 200MiB/s --detach',
  ])
    .requiredOption('--to <host>', 'the target')
    .addOption(
      new Option('--mode <mode>', 'how (default: hybrid)').choices([
        'precopy',
        'postcopy',
        'hybrid',
      ]),
    )
    .option('--channels <n>', 'parallel page channels', parseCount(1, CHANNELS_MAX))
    .option('--max-bandwidth <rate>', 'over all channels, such as 200MiB/s', parseBandwidth)
    .option('--max-downtime <time>', 'switch when the rest fits into this', parseDuration)
    .option('--throttle', 'slow the guest down when rounds do not converge')
    .option('--verify', 'compare digests of every page before it counts as moved')
    .option('-d, --detach', 'print the id and do not wait');
  does<MigrateOptions>(context, withApi(command), async ({ api, args, io, options }) => {
    const { to, mode, channels, maxBandwidth, maxDowntime } = options;
    const started = await api.migrate({
      guest: args[0]!,
      to,
      ...(mode !== undefined && { mode }),
      ...(channels !== undefined && { channels }),
      ...(maxBandwidth !== undefined && { maxBandwidthBytesPerS: maxBandwidth }),
      ...(maxDowntime !== undefined && { maxDowntimeMs: maxDowntime }),
      throttle: options.throttle ?? false,
      verify: options.verify ?? false,
    });
    if (options.detach) {
      io.out(options.json ? jsonDocument(started) : `${started.id}\n`);
      if (!options.json)
        io.err(`${headText(started)}\nfollow it: godwit migration watch ${started.id}\n`);
      return EXIT.ok;
    }
    return followMigration(io, api, started.id, options.json ? 'document' : 'text');
  });
}
