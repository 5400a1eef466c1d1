/**
 * `godwit coordinator recover`: a store that was restored from a backup is made true again.
 *
 *   recover --> POST /v1/recovery, then GET until it is over: what it waits for, when that changes
 *
 * Ending the command ends the waiting only; called again it shows how far it is.
 */
import type { Recovery } from '@godwit/protocol';
import type { Command } from 'commander';
import { type ApiClient, pause } from '../api-client.ts';
import { type Context, does, leaf, withApi } from '../command.ts';
import { CommandError, EXIT } from '../errors.ts';
import type { Io } from '../io.ts';
import { jsonDocument } from '../output.ts';

const ASK_MS = 500;
/** The coordinator begins anew on the recovered store; that long it may be away. */
const AWAY_MS = 30_000;

export function addRecoverCommand(coordinator: Command, context: Context): void {
  const recover = leaf(
    coordinator,
    'recover',
    'Make a store that was restored from a backup true again, from what the hosts hold',
    ['godwit coordinator recover', 'godwit coordinator recover --coordinator http://10.0.0.1:7400'],
  ).description(
    'Make a store that was restored from a backup true again. Every registered host must say what it\n' +
      'holds or be fenced; until then nothing is decided. Hosts that the backup does not know yet\n' +
      'should be running too: what they hold is taken up, and cannot be later.',
  );
  does(context, withApi(recover), async ({ api, io, options }) => {
    let view = await api.recovery();
    const wasNeeded = view.state !== 'none';
    if (wasNeeded) view = await api.recover();
    let shown = '';
    while (view.state !== 'none') {
      const text = waitingText(view);
      if (text !== shown) io.err(text);
      shown = text;
      await pause(ASK_MS);
      view = await nextView(api);
    }
    if (options.json) io.out(jsonDocument(view));
    else say(io, wasNeeded);
  });
}

function say(io: Io, wasNeeded: boolean): void {
  io.out(wasNeeded ? 'recovered: godwit guest ls shows what is there\n' : 'nothing to recover\n');
}

function waitingText({ reported, waitingFor, fenced }: Recovery): string {
  const lines = [`${reported.length} reported, ${fenced.length} fenced`];
  for (const host of waitingFor) {
    lines.push(
      `waits for host ${host}; if you know that it is off: godwit host fence ${host} --confirm`,
    );
  }
  return `${lines.join('\n')}\n`;
}

/** @throws CommandError when the coordinator stays away */
async function nextView(api: ApiClient): Promise<Recovery> {
  for (const endsAtMs = performance.now() + AWAY_MS; ; ) {
    try {
      return await api.recovery();
    } catch (error) {
      const isAway = CommandError.from(error).exit === EXIT.unreachable;
      if (!isAway || performance.now() > endsAtMs) throw error;
    }
    await pause(ASK_MS);
  }
}
