/**
 * `npm run model [-- --json --quick]`: the models beside the tables, exhaustively, and then their mutations.
 *
 * First every search that must find nothing, then every mutation. A mutation counts as caught only if
 * the same flags without it find nothing: a check that fails anyway shows nothing. Prints flags and
 * the violated assertion of each. With --json the last line of stdout is
 * {"states","violations","mutations":[{"name","caught"}]}; --quick leaves out the searches with five
 * faults, which take most of the time. Exit status 1 if an unmutated search finds
 * something, a mutation is not caught, or a tool is missing.
 */
import { missingPackages, type Search, search } from './spin.ts';

interface Case {
  readonly model: string;
  readonly flags: readonly string[];
}

interface Mutation extends Case {
  readonly name: string;
}

const handover = (...flags: string[]): Case => ({ model: 'handover.pml', flags });

/** One fault: all rules. Five faults: two may leave no guest, but never two. */
const SEARCHES: readonly Case[] = [
  handover(),
  handover('-DPOSTCOPY'),
  handover('-DHEAL'),
  handover('-DHEAL', '-DPOSTCOPY'),
  handover('-DHEAL', '-DSAFE_ONLY', '-DFAULTS=5'),
  handover('-DHEAL', '-DSAFE_ONLY', '-DFAULTS=5', '-DPOSTCOPY'),
  { model: 'safepoint.pml', flags: [] },
];

const mutate = (base: Case, name: string): Mutation => ({ ...base, name });
const HANDOVER = handover();
const POSTCOPY = handover('-DPOSTCOPY');
const SAFEPOINT: Case = { model: 'safepoint.pml', flags: [] };

/** What each stands for is said at the top of its model. */
const MUTATIONS: readonly Mutation[] = [
  mutate(HANDOVER, 'M_ASK_AFTER_RUN'),
  mutate(HANDOVER, 'M_RUN_AFTER_ASK'),
  mutate(HANDOVER, 'M_RUN_ON_LANDED'),
  mutate(POSTCOPY, 'M_DROPPED_RUNS'),
  mutate(HANDOVER, 'M_DEADLINE_DECIDES'),
  mutate(HANDOVER, 'M_LAST_WRITER_WINS'),
  mutate(HANDOVER, 'M_STORE_ROLLED_BACK'),
  mutate(HANDOVER, 'M_FREE_ON_VERDICT'),
  mutate(POSTCOPY, 'M_FREE_ON_LOST_PEER'),
  mutate(HANDOVER, 'M_NO_RENOUNCE'),
  mutate(HANDOVER, 'M_NO_PROOF'),
  mutate(HANDOVER, 'M_RAN_FORGOTTEN'),
  mutate(SAFEPOINT, 'M_PARKED_COUNTS'),
  mutate(SAFEPOINT, 'M_FLUSH_BEFORE_TAKE'),
  mutate(SAFEPOINT, 'M_READ_BEFORE_ACK'),
  mutate(SAFEPOINT, 'M_WAKE_WHILE_HELD'),
];

const keyOf = ({ model, flags }: Case): string => [model, ...flags].join(' ');

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}

function main(json: boolean, quick: boolean): number {
  const missing = missingPackages();
  if (missing.length > 0) {
    process.stderr.write(`error: ${missing.join(' and ')}: not installed: the models need it\n`);
    process.stderr.write(`hint: apt-get install ${missing.join(' ')}\n`);
    return 1;
  }

  const searches = new Map<string, Search>();
  for (const one of SEARCHES) {
    if (quick && one.flags.includes('-DFAULTS=5')) continue;
    const result = search(one.model, one.flags);
    searches.set(keyOf(one), result);
    const verdict = result.violated === undefined ? 'holds' : `VIOLATED ${result.violated}`;
    print(`${verdict}  ${keyOf(one)}  ${result.states} states`);
  }

  const mutations = MUTATIONS.map((one) => {
    const flag = `-D${one.name}`;
    const { violated } = search(one.model, [...one.flags, flag]);
    // Every base is one of SEARCHES; without it, or with an error of its own, nothing is shown.
    const base = searches.get(keyOf(one));
    const caught = violated !== undefined && base !== undefined && base.violated === undefined;
    print(
      `${caught ? 'caught' : 'NOT CAUGHT'}  ${keyOf(one)} ${flag}  ${violated ?? 'no violation'}`,
    );
    return { name: one.name, caught };
  });

  const results = [...searches.values()];
  const states = results.reduce((sum, result) => sum + result.states, 0);
  const violations = results.filter((result) => result.violated !== undefined).length;
  const caught = mutations.filter((mutation) => mutation.caught).length;
  print(
    `${states} states, ${violations} violations, ${caught} of ${mutations.length} mutations caught`,
  );
  if (json) print(JSON.stringify({ states, violations, mutations }));
  return violations === 0 && caught === mutations.length ? 0 : 1;
}

const options = process.argv.slice(2);
const unknown = options.find((option) => option !== '--json' && option !== '--quick');
if (unknown !== undefined) {
  process.stderr.write(
    `error: ${unknown}: unknown option\nhint: npm run model [-- --json --quick]\n`,
  );
  process.exitCode = 2;
} else {
  process.exitCode = main(options.includes('--json'), options.includes('--quick'));
}
