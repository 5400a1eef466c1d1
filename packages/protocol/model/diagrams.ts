/**
 * Prints CORES.md: the three cores as diagrams and as text, read from the tables.
 *
 *   node packages/protocol/model/diagrams.ts           to stdout
 *   node packages/protocol/model/diagrams.ts --write   into packages/protocol/CORES.md
 *
 * A test compares the file with what this prints, so a drawing cannot grow stale.
 */
import { writeFileSync } from 'node:fs';
import type { Core, Facts } from '../src/cores/core.ts';
import { COORDINATOR, SOURCE, TARGET } from '../src/cores/mod.ts';

type AnyCore = Core<string, string, string, Facts, string>;

const CORES = [SOURCE, TARGET, COORDINATOR] as unknown as readonly AnyCore[];

const HEAD = `# The migration cores

Generated from the tables in \`src/cores\` (\`node packages/protocol/model/diagrams.ts --write\`); not edited by
hand. A row: in these phases, on these events, if the condition holds, go to the next phase and perform the
effects in this order. No next phase: the phase stays. An event without a row is ignored, counted and logged.

*Guest* says whether harts may execute at that end: \`here\` they may, \`stopped\` a whole guest that may yet run
here, \`frozen\` an image that must not run here again, \`absent\` nothing that could run.

## What the walk over all three taught

\`test/product.test.ts\` enumerates every interleaving of messages, cuts, deadlines and one fault. Rows that look
odd alone are there because of it:

- A target that **asks** does not obey CANCEL. Source cancels, asks, hears VERDICT target and is killed; the late
  CANCEL would make the target drop the only whole copy although the verdict is in its favour.
- A target renounces only when the coordinator is **out of reach** (link lost, or an answer so overdue that the link
  is given up), not when its own deadline passes: a slow coordinator and a killed source would leave no guest.
- A **settled** coordinator answers the owner's own late question with ALL_PRESENT seen, not with "superseded": the
  question may have crossed the end, and its owner would stop a running guest.
- **Rule 2's exception, exactly.** A source killed while its CANCEL or DECIDE(source) is on its way takes the guest
  along, though the target holds all of it: the source had claimed the guest, its message arrives after its death,
  and the target cannot tell it from one sent by the living. Reported \`lost\`; the window is one message long.
- A dead target that had journalled RAN is never followed by the source's image, whatever else is known; a journal
  that says it had not, against a RUNNING that was seen, is not believed either.
`;

const list = (one: string | readonly string[]): readonly string[] =>
  typeof one === 'string' ? [one] : one;

function table(columns: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |\n`;
  return line(columns) + line(columns.map(() => '---')) + rows.map(line).join('');
}

/** One arrow for each pair of phases, with all events that lead along it. */
function diagram(core: AnyCore): string {
  const arrows = new Map<string, Set<string>>();
  for (const row of core.rows) {
    for (const phase of list(row.at)) {
      if (row.to === undefined || row.to === phase) continue;
      const arrow = `${phase} --> ${row.to}`;
      const events = arrows.get(arrow) ?? new Set<string>();
      for (const event of list(row.on)) {
        events.add(row.when === undefined ? event : `${event} [${row.when}]`);
      }
      arrows.set(arrow, events);
    }
  }
  const finals = Object.keys(core.phases).filter((phase) => core.isFinal(phase));
  return [
    '```mermaid',
    'stateDiagram-v2',
    `  [*] --> ${core.initial.phase}`,
    ...[...arrows].map(([arrow, events]) => `  ${arrow}: ${[...events].join(', ')}`),
    ...finals.map((phase) => `  ${phase} --> [*]`),
    '```',
    '',
  ].join('\n');
}

function section(core: AnyCore): string {
  const title = core.role[0]!.toUpperCase() + core.role.slice(1);
  const hasGuest = core.role !== 'coordinator';
  const phases = Object.entries(core.phases).map(([name, { guest, what }]) =>
    hasGuest ? [name, guest, what] : [name, what],
  );
  const rows = core.rows.map((row) => [
    list(row.at).join(', '),
    list(row.on).join(', ') + (row.when === undefined ? '' : ` [${row.when}]`),
    row.to ?? '',
    row.effects.join(', '),
    row.why,
  ]);
  const ignored = core.ignoring.map(({ at, on, why }) => [at.join(', '), on.join(', '), why]);
  const others = core.ignoredPairs().filter(({ why }) => why === '');
  const byPhase = Map.groupBy(others, ({ phase }) => phase);
  return [
    `## ${title}\n`,
    diagram(core),
    table(hasGuest ? ['phase', 'guest', 'what'] : ['phase', 'what'], phases),
    table(['at', 'on', 'then', 'effects', 'why'], rows),
    `### ${title}: events\n`,
    table(['event', 'what'], Object.entries(core.events)),
    `### ${title}: effects\n`,
    table(['effect', 'what'], Object.entries(core.effects)),
    `### ${title}: ignored, and why\n`,
    table(['at', 'on', 'why'], ignored),
    'Not expected at all, and ignored too:\n',
    table(
      ['at', 'on'],
      [...byPhase].map(([phase, pairs]) => [phase, pairs.map(({ event }) => event).join(', ')]),
    ),
  ].join('\n');
}

export function coresDocument(): string {
  return [HEAD, ...CORES.map(section)].join('\n');
}

if (import.meta.main) {
  const option = process.argv[2];
  if (option === '--write') {
    writeFileSync(new URL('../CORES.md', import.meta.url), coresDocument());
  } else if (option === undefined) {
    process.stdout.write(coresDocument());
  } else {
    process.stderr.write(`error: ${option}: unknown option\nhint: the only option is --write\n`);
    process.exitCode = 2;
  }
}
