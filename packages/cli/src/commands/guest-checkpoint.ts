/**
 * `godwit guest checkpoint` and `godwit guest restore`: a guest into a file of its host, and out of one.
 */
import type { Command } from 'commander';
import { type Context, does, leaf, withApi } from '../command.ts';
import { bytesText, durationText } from '../format.ts';
import { jsonDocument } from '../output.ts';

export function addGuestCheckpoint(guest: Command, context: Context): void {
  const checkpoint = leaf(guest, 'checkpoint <guest>', 'Write a guest to a file of its host', [
    'godwit guest checkpoint web1 --to web1-before-upgrade',
  ])
    .description(
      'Write a guest to a file of its host: memory and machine state, pages that are zero left out. The\n' +
        'guest stands while it is written, and runs on. The file is in the state directory of the host\n' +
        'that runs the guest, under checkpoints/; to restore it on another host, copy it there.',
    )
    .requiredOption('--to <name>', 'name of the checkpoint');
  does<{ to: string }>(context, withApi(checkpoint), async ({ api, args, io, options }) => {
    const written = await api.checkpointGuest(args[0]!, options.to);
    if (options.json) {
      io.out(jsonDocument(written));
      return;
    }
    const { path, host, fileBytes, pausedMs } = written;
    io.out(`${path} on ${host}  ${bytesText(fileBytes)}\n`);
    io.err(`${args[0]} stood for ${durationText(pausedMs)}, and runs on if it ran before\n`);
  });

  const restore = leaf(guest, 'restore [guest]', 'Make a guest of a checkpoint, and run it', [
    'godwit guest restore --from web1-before-upgrade --host a',
    'godwit guest restore web2 --from web1-before-upgrade --host a',
  ])
    .description(
      'Make a guest of a checkpoint that lies on a host, and run it there. Without a name it becomes the\n' +
        'guest it was taken from; that is refused while that guest may run anywhere.',
    )
    .requiredOption('--from <name>', 'name of the checkpoint')
    .requiredOption('--host <host>', 'the host that has the file');
  does<{ from: string; host: string }>(
    context,
    withApi(restore),
    async ({ api, args, io, options }) => {
      const [as] = args;
      const body = { host: options.host, ...(as !== undefined && { as }) };
      const made = await api.restoreGuest(options.from, body);
      if (options.json) io.out(jsonDocument(made));
      else io.out(`${made.name}  ${made.state} on ${made.host}  from ${options.from}\n`);
    },
  );
}
