/**
 * How a guest is moved, as options: the same for one guest, for a drain and for a restore.
 *
 *   command line --> [move options] --> the part of the request that says how
 */
import { CHANNELS_MAX, type DrainRequest, type Mode, type Priority } from '@godwit/protocol';
import { type Command, Option } from 'commander';
import { parseBandwidth, parseCount, parseDuration } from './options.ts';

export interface MoveOptions {
  mode?: Mode;
  channels?: number;
  maxBandwidth?: number;
  maxDowntime?: number;
  throttle?: boolean;
  verify?: boolean;
  priority?: Priority;
}

export function withMoveOptions(command: Command): Command {
  const modes = ['precopy', 'postcopy', 'hybrid'];
  return command
    .addOption(new Option('--mode <mode>', 'how (default: hybrid)').choices(modes))
    .option('--channels <n>', 'parallel page channels', parseCount(1, CHANNELS_MAX))
    .option('--max-bandwidth <rate>', 'over all channels, such as 200MiB/s', parseBandwidth)
    .option('--max-downtime <time>', 'switch when the rest fits into this', parseDuration)
    .option('--throttle', 'slow the guest down when rounds do not converge')
    .option('--verify', 'compare digests of every page before it counts as moved')
    .addOption(
      new Option('--priority <share>', 'its share of the line (default: normal)').choices([
        'low',
        'normal',
        'high',
      ]),
    );
}

export function moveRequest(options: MoveOptions): DrainRequest {
  const { mode, channels, maxBandwidth, maxDowntime, priority } = options;
  return {
    ...(mode !== undefined && { mode }),
    ...(channels !== undefined && { channels }),
    ...(maxBandwidth !== undefined && { maxBandwidthBytesPerS: maxBandwidth }),
    ...(maxDowntime !== undefined && { maxDowntimeMs: maxDowntime }),
    throttle: options.throttle ?? false,
    verify: options.verify ?? false,
    ...(priority !== undefined && { priority }),
  };
}
