/**
 * `godwit guest console`: a terminal on a guest's UART that follows the guest when it moves.
 *
 * On a terminal every key goes to the guest as it is, Ctrl-C too; Ctrl-] leaves. With input from a pipe
 * the bytes are sent, and the command leaves when the guest has been silent for a while after the end.
 * One console types; others may watch.
 */
import { type Command, Option } from 'commander';
import { type Context, does, leaf, withCoordinator } from '../command.ts';
import type { ConsoleClient } from '../console-client.ts';
import { type CommandError, EXIT, usageError } from '../errors.ts';
import type { Io } from '../io.ts';
import { parseDuration } from '../options.ts';

/** Ctrl-], as in telnet and virsh. */
const LEAVE_BYTE = 0x1d;
const SILENCE_DEFAULT = '1s';
/** Input kept for a guest that does not read; more waits in the pipe. */
const INPUT_BYTES_MAX = 256 * 1024;

export function addGuestConsole(guest: Command, context: Context): void {
  const command = leaf(guest, 'console <guest>', "Use a guest's console; Ctrl-] leaves", [
    'godwit guest console web1',
    "printf 'set colour blue\\nget colour\\n' | godwit guest console db1",
    'godwit guest console web1 --read-only',
  ])
    .option('--read-only', 'watch; what is typed here is dropped')
    .option('--force', 'take the console over from whoever has it')
    .addOption(
      new Option('--silence <time>', 'input from a pipe: leave after so much silence')
        .argParser(parseDuration)
        .default(parseDuration(SILENCE_DEFAULT), SILENCE_DEFAULT),
    );
  interface Options {
    silence: number;
    readOnly?: boolean;
    force?: boolean;
  }
  does<Options>(context, withCoordinator(command), async ({ api, args, io, options }) => {
    if (options.readOnly && options.force) {
      throw usageError('--read-only and --force: one of them', 'who watches takes nothing over');
    }
    const access = options.readOnly ? 'watch' : options.force ? 'take' : 'type';
    const { ConsoleClient } = await import('../console-client.ts');
    const client = new ConsoleClient({ api, guest: args[0]!, access });
    if (io.stdin.isTTY) return interact(io, client, access !== 'watch');
    return access === 'watch' ? watch(io, client) : converse(io, client, options.silence);
  });
}

async function interact(io: Io, client: ConsoleClient, types: boolean): Promise<number> {
  const { over, leave } = attachOutput(io, client);
  const release = io.onSignal(() => leave(EXIT.interrupted));
  let leaveRawMode = () => {};
  try {
    // Finding the owner may take its time; whoever gives up meanwhile is let go.
    await Promise.race([client.open(), over]);
    leaveRawMode = io.enterRawMode();
    io.stdin.on('data', (keys: Buffer) => {
      const at = keys.indexOf(LEAVE_BYTE);
      if (types) client.write(at < 0 ? keys : keys.subarray(0, at));
      if (at >= 0) leave(EXIT.ok);
    });
    io.stdin.on('end', () => leave(EXIT.ok));
    return await over;
  } finally {
    release();
    leaveRawMode();
    io.stdin.pause();
    await client.close();
    io.err('\n');
  }
}

/** Output only, until the guest ends or the person leaves. */
async function watch(io: Io, client: ConsoleClient): Promise<number> {
  const { over, leave } = attachOutput(io, client);
  const release = io.onSignal(() => leave(EXIT.interrupted));
  try {
    await client.open();
    return await over;
  } finally {
    release();
    io.stdin.destroy();
    await client.close();
  }
}

async function converse(io: Io, client: ConsoleClient, silenceMs: number): Promise<number> {
  const { over, leave, lastOutputAtMs } = attachOutput(io, client);
  const release = io.onSignal(() => leave(EXIT.interrupted));
  let silence: NodeJS.Timeout | undefined;
  let isOver = false;
  const onceSilent = () => {
    const silentMs = performance.now() - lastOutputAtMs();
    if (silentMs >= silenceMs) leave(EXIT.ok);
    else silence = setTimeout(onceSilent, silenceMs - silentMs);
  };
  try {
    await client.open();
    // Runs beside `over`: the guest may end, or the person may leave, before the pipe does.
    void sendAll(io, client).then(
      () => {
        if (!isOver) silence = setTimeout(onceSilent, silenceMs);
      },
      () => {}, // The client failed or was closed; `over` says so.
    );
    return await over;
  } finally {
    isOver = true;
    clearTimeout(silence);
    release();
    io.stdin.destroy();
    await client.close();
  }
}

async function sendAll(io: Io, client: ConsoleClient): Promise<void> {
  let untakenBytes = 0;
  for await (const chunk of io.stdin) {
    client.write(chunk as Buffer);
    untakenBytes += (chunk as Buffer).length;
    if (untakenBytes > INPUT_BYTES_MAX) {
      await client.taken();
      untakenBytes = 0;
    }
  }
  await client.taken();
}

/** Output to stdout, what happens to stderr, and one promise for every way in which it can end. */
function attachOutput(io: Io, client: ConsoleClient) {
  const { promise: over, resolve: leave, reject } = Promise.withResolvers<number>();
  let outputAtMs = performance.now();
  const note = (text: string) => io.err(`${io.stdin.isTTY ? '\r' : ''}[${text}]\r\n`);
  let attachments = 0;
  client.on('output', (bytes) => {
    outputAtMs = performance.now();
    io.out(bytes);
  });
  client.on('attached', (address) => {
    attachments++;
    outputAtMs = performance.now();
    if (attachments === 1 && io.stdin.isTTY) note(`${client.guest} at ${address}; Ctrl-] leaves`);
    if (attachments > 1) note(`${client.guest} continues at ${address}`);
  });
  client.on('away', (why) => {
    if (io.stdin.isTTY) note(why);
  });
  client.on('gap', (bytes) =>
    note(`${bytes} bytes of output were overwritten before they were read`),
  );
  client.on('dropped', (bytes) =>
    note(`${bytes} bytes of input were not taken: another console typed meanwhile`),
  );
  client.on('ended', (why, code) => {
    note(`${client.guest} ended: ${why}, code ${code}`);
    leave(EXIT.ok);
  });
  client.on('failed', (error: CommandError) => reject(error));
  return { over, leave, lastOutputAtMs: () => outputAtMs };
}
