/**
 * `godwit guest`: what is moved. Creation, migration and the console have files of their own.
 */
import type { AuditResult, Guest } from '@godwit/protocol';
import type { Command } from 'commander';
import { type Context, does, group, leaf, withApi } from '../command.ts';
import { EXIT, usageError } from '../errors.ts';
import { ageText, bytesText, countText, durationText, rateText } from '../format.ts';
import { guestText } from '../guest-text.ts';
import { parseWriteRate } from '../options.ts';
import { jsonDocument, table } from '../output.ts';
import { byName, watching, withWatch } from '../watching.ts';
import { addGuestCheckpoint } from './guest-checkpoint.ts';
import { addGuestConsole } from './guest-console.ts';
import { addGuestCreate } from './guest-create.ts';
import { addGuestMigrate } from './guest-migrate.ts';

export function addGuestCommands(program: Command, context: Context): void {
  const guest = group(program, 'guest', 'guests: create, list, use, migrate, stop, remove');
  addGuestCreate(guest, context);
  addGuestLists(guest, context);
  addGuestMigrate(guest, context);
  addGuestConsole(guest, context);
  addGuestCheckpoint(guest, context);
  addGuestEnds(guest, context);
  addWorkloadCommands(guest, context);
}

function addGuestLists(guest: Command, context: Context): void {
  const ls = leaf(guest, 'ls', 'List the guests', [
    'godwit guest ls',
    'godwit guest ls --watch',
    'godwit guest ls --json | jq -r .[].name',
  ]);
  does<{ watch?: boolean }>(context, withWatch(withApi(ls.alias('list'))), (call) =>
    watching(
      call,
      {
        kind: 'guest',
        ask: async () => byName(await call.api.guests()),
        from: (world) => byName(world.guests.values()),
      },
      guestTable,
    ),
  );

  const show = leaf(guest, 'show <guest>', 'Show one guest: where it is, who holds what', [
    'godwit guest show web1',
  ]);
  does(context, withApi(show), async ({ api, args, io, options }) => {
    const found = await api.guest(args[0]!);
    io.out(options.json ? jsonDocument(found) : guestText(found));
  });
}

function addGuestEnds(guest: Command, context: Context): void {
  const stop = leaf(guest, 'stop <guest>', 'Stop a guest; its memory stays until it is removed', [
    'godwit guest stop web1',
  ]);
  does(context, withApi(stop), async ({ api, args, io, options }) => {
    const found = await api.stopGuest(args[0]!);
    io.out(options.json ? jsonDocument(found) : `${found.name} ${found.state} on ${found.host}\n`);
  });

  const rm = leaf(guest, 'rm <guest>', 'Remove a guest that is stopped, ended or lost', [
    'godwit guest rm web1',
  ]);
  does(context, withApi(rm.alias('remove')), async ({ api, args, io, options }) => {
    const answer = await api.removeGuest(args[0]!);
    io.out(options.json ? jsonDocument(answer) : `${args[0]} removed\n`);
  });

  const discard = leaf(guest, 'discard <guest>', 'Give up an old image that a host still keeps', [
    'godwit guest discard web1 --host a',
  ])
    .description(
      'Give up an old image that a host still keeps: the frozen pages of a source whose target never\n' +
        'said that it has them all, or a stale image after a loss. They cannot be had again.',
    )
    .requiredOption('--host <host>', 'the host that keeps it');
  does<{ host: string }>(context, withApi(discard), async ({ api, args, io, options }) => {
    const answer = await api.discardGuest(args[0]!, options.host);
    if (options.json) io.out(jsonDocument(answer));
    else io.out(`${options.host} gave up its old image of ${args[0]}\n`);
  });
}

function addWorkloadCommands(guest: Command, context: Context): void {
  const audit = leaf(guest, 'audit <guest>', 'Check every page of a workload: was a write lost?', [
    'godwit guest audit mem1',
  ]);
  does(context, withApi(audit), async ({ api, args, io, options }) => {
    const result = await api.auditGuest(args[0]!);
    io.out(options.json ? jsonDocument(result) : auditText(result));
    return result.ok ? EXIT.ok : EXIT.failed;
  });

  const rate = leaf(guest, 'rate <guest> <rate>', 'Change how fast a workload writes', [
    'godwit guest rate mem1 200MiB/s',
    'godwit guest rate mem1 unlimited',
  ]);
  does(context, withApi(rate), async ({ api, args, io, options }) => {
    const found = await api.setRate(args[0]!, parseRateArgument(args[1]!));
    io.out(options.json ? jsonDocument(found) : `${found.name} writes at ${args[1]}\n`);
  });
}

function parseRateArgument(text: string): number | null {
  try {
    const rateMiBps = parseWriteRate(text);
    return Number.isFinite(rateMiBps) ? rateMiBps : null;
  } catch (error) {
    const hint = 'godwit guest rate --help';
    throw usageError(`rate '${text}': ${(error as Error).message}`, hint);
  }
}

function guestTable(guests: readonly Guest[]): string {
  return table(
    ['GUEST', 'KIND', 'HOST', 'STATE', 'MEMORY', 'DIRTY', 'WORKING SET', 'UPTIME'],
    guests.map((guest) => [
      guest.name,
      guest.kind,
      guest.host,
      guest.state === 'doubt' ? 'in doubt' : guest.state,
      bytesText(guest.memoryBytes),
      rateText(guest.dirtyBytesPerS),
      bytesText(guest.workingSetBytes),
      ageText(Date.now() - guest.createdAtMs),
    ]),
  );
}

/** One line; used by the demo too. */
export function auditText(result: AuditResult): string {
  const counts = `${countText(result.pages)} pages, ${countText(result.writes)} writes`;
  const witness = `witness heard ${countText(result.witnessWrites)}`;
  if (result.ok) {
    return `${result.guest}: no write lost (${counts}; ${witness}; ${durationText(result.durationMs)})\n`;
  }
  const why = result.why ? `: ${result.why}` : '';
  return `${result.guest}: WRONG: ${countText(result.wrong)} of ${counts}; ${witness}${why}\n`;
}
