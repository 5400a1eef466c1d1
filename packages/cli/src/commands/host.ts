/**
 * `godwit host`: the machines that guests run on.
 */
import type { Host } from '@godwit/protocol';
import type { Command } from 'commander';
import { type Context, does, group, leaf, withApi } from '../command.ts';
import { usageError } from '../errors.ts';
import { ageText, bytesText } from '../format.ts';
import type { Io } from '../io.ts';
import { jsonDocument, paint, table } from '../output.ts';
import { byName, watching, withWatch } from '../watching.ts';
import { addMaintenance } from './host-drain.ts';

export function addHostCommands(program: Command, context: Context): void {
  const host = group(program, 'host', 'hosts: list, show, cordon, drain, restore, fence');

  const ls = leaf(host, 'ls', 'List the hosts', ['godwit host ls', 'godwit host ls --watch']);
  does<{ watch?: boolean }>(context, withWatch(withApi(ls.alias('list'))), (call) =>
    watching(
      call,
      {
        kind: 'host',
        ask: async () => byName(await call.api.hosts()),
        from: (world) => byName(world.hosts.values()),
      },
      hostTable,
    ),
  );

  const show = leaf(host, 'show <host>', 'Show one host', ['godwit host show b']);
  does(context, withApi(show), async ({ api, args, io, options }) => {
    const found = await api.host(args[0]!);
    io.out(options.json ? jsonDocument(found) : hostText(io, found));
  });

  addMaintenance(host, context);

  const fence = leaf(host, 'fence <host>', 'Declare that a silent host has ended for good', [
    'godwit host fence b --confirm',
    'godwit host fence b --confirm --discard-target',
  ])
    .description(
      'Declare that a silent host has ended for good. The cluster takes your word as proof: guests\n' +
        'whose only copy was there are reported lost, guests in doubt between it and another host are\n' +
        'decided. Make sure that the machine is really off: a fenced host that still runs a guest is\n' +
        'the one way to have it twice.',
    )
    .option('--confirm', 'yes, that machine is off')
    .option('--discard-target', 'also give up what it may have run as the target of a migration');
  does<{ confirm?: boolean; discardTarget?: boolean }>(
    context,
    withApi(fence),
    async ({ api, args, io, options }) => {
      if (!options.confirm) {
        const why = 'fencing cannot be taken back';
        throw usageError(`host ${args[0]}: ${why}`, 'add --confirm if that machine is really off');
      }
      const { lost } = await api.fence(args[0]!, options.discardTarget ?? false);
      if (options.json) io.out(jsonDocument({ lost }));
      else {
        const sentence = lost.length === 0 ? 'no guest is lost' : `lost: ${lost.join(', ')}`;
        io.out(`host ${args[0]} is fenced; ${sentence}\n`);
      }
    },
  );
}

function hostTable(hosts: readonly Host[]): string {
  return table(
    ['HOST', 'STATE', 'ADDRESS', 'CORES', 'GUESTS', 'MOVES', 'FREE', 'MEMORY', 'AGENT RSS'],
    hosts.map((host) => [
      host.name,
      stateText(host),
      host.address,
      String(host.cores),
      String(host.guests),
      host.movesQueued === 0 ? String(host.moves) : `${host.moves}+${host.movesQueued}`,
      bytesText(Math.max(0, host.freeBytes - host.promisedBytes)),
      bytesText(host.memoryBytes),
      bytesText(host.rssBytes),
    ]),
  );
}

/** "connected", "connected,cordoned" */
function stateText({ state, cordon }: Host): string {
  if (cordon === undefined) return state;
  return `${state},${{ person: 'cordoned', drain: 'drained', agent: 'leaving' }[cordon.by]}`;
}

function cordonText({ cordon }: Host): string {
  if (cordon === undefined) return 'no';
  const who = { person: 'yes', drain: 'yes, by a drain', agent: 'yes, its agent is leaving' };
  const reason = cordon.reason === '' ? '' : ` (${cordon.reason})`;
  return `${who[cordon.by]}, for ${ageText(Date.now() - cordon.atMs)}${reason}`;
}

function hostText(io: Io, host: Host): string {
  const colour = host.state === 'connected' ? 'green' : 'red';
  const heard = ageText(Date.now() - host.lastHeardAtMs);
  const rows = [
    ['address', host.address],
    ['cores', String(host.cores)],
    ['memory', `${bytesText(host.freeBytes)} free of ${bytesText(host.memoryBytes)} for guests`],
    ['promised', bytesText(host.promisedBytes)],
    ['guests', String(host.guests)],
    ['moves', `${host.moves} under way, ${host.movesQueued} waiting`],
    ['cordoned', cordonText(host)],
    ['agent', `pid ${host.pid}, incarnation ${host.incarnation.slice(0, 8)}`],
    ['resident', `${bytesText(host.rssBytes)}, of it ${bytesText(host.poolBytes)} pooled`],
    ['descriptors', String(host.descriptors)],
    ['supervised', host.supervised ? 'yes' : 'no: if its agent ends, only fencing proves it'],
    ['last heard', `${heard} ago`],
  ];
  const title = `${host.name}  ${paint(io, colour, host.state)}\n`;
  return title + rows.map(([label, value]) => `  ${label!.padEnd(12)}${value}\n`).join('');
}
