/**
 * What the hello tells of migrations. Goal: however many moves a host has behind it, its hello can be said,
 * and it tells all that are open and the ends that may be news.
 */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import {
  type Message,
  MIGRATIONS_PER_HOST_MAX,
  type MigrationReport,
  MOVES_PER_HOST_MAX,
} from '@godwit/protocol';
import { noMigrations } from '../src/agent.ts';
import { createMigrations, type Migrations } from '../src/migration/manager.ts';
import { stateDir, until } from './support/agent-parts.ts';
import { grant } from './support/grants.ts';
import { makeAgent, startAgent } from './support/running-agent.ts';

/** Those whose names begin with `open` wait for what was there before them, and take no memory. */
async function makeMigrations(t: TestContext): Promise<Migrations> {
  const { agent } = await makeAgent(t, stateDir(t), [], createMigrations);
  t.mock.method(agent.pool, 'vacated', (guest: string) =>
    guest.startsWith('open') ? new Promise(() => {}) : Promise.resolve(),
  );
  return agent.migrations as Migrations;
}

function names(prefix: string, count: number): string[] {
  return Array.from({ length: count }, (_, i) => `${prefix}-${i}`);
}

function give(migrations: Migrations, ids: readonly string[], memoryBytes = 2 ** 20): void {
  for (const id of ids) {
    const { spec, ...rest } = grant(id);
    migrations.onMessage({ ...rest, spec: { ...spec, memoryBytes }, request: 0 });
  }
}

/** Grants that cannot be carried out, for want of memory: each leaves a migration that has ended. */
async function endMany(migrations: Migrations, ids: readonly string[]): Promise<void> {
  for (const id of ids) {
    give(migrations, [id], 2 ** 31);
    await until('its end', () => phases(migrations).get(id) === 'dropped');
  }
}

function phases(migrations: Migrations): Map<string, string> {
  return new Map(migrations.reports().map(({ migration, phase }) => [migration, phase]));
}

const told = (migrations: Migrations) => [...phases(migrations).keys()];

test('more migrations than a hello takes: the open ones and the newest ends are told', async (t) => {
  const migrations = await makeMigrations(t);
  give(migrations, names('open', 3));
  await endMany(migrations, names('old', 20));
  await endMany(migrations, names('new', MIGRATIONS_PER_HOST_MAX).reverse());
  // Granted first, and its end is the newest of all.
  const reason = 'a test';
  migrations.onMessage({ type: 'cancelMigration', migration: 'open-0', reason });
  const newest = names('new', MIGRATIONS_PER_HOST_MAX - 3);
  assert.deepEqual(told(migrations), ['open-1', 'open-2', 'open-0', ...newest]);
});

test('a grant is refused where a hello could not tell of it and of the ends that are news', async (t) => {
  const migrations = await makeMigrations(t);
  const openMax = MIGRATIONS_PER_HOST_MAX - MOVES_PER_HOST_MAX;
  const open = names('open', openMax + 1);
  give(migrations, open);
  assert.deepEqual(told(migrations), open.slice(0, openMax));
});

test('a hello that cannot be made ends the connection; the next one is said', async (t) => {
  let reports: MigrationReport[] = [];
  let asked = 0;
  const { agent, coordinator } = await startAgent(t, [], (each) => {
    const counted = () => {
      asked += 1;
      return reports;
    };
    return { ...noMigrations(each), reports: counted };
  });
  const report = { guest: 'g', role: 'target', epoch: 2, phase: 'done', ran: true } as const;
  reports = names('m', MIGRATIONS_PER_HOST_MAX + 1).map((migration) => ({ migration, ...report }));
  coordinator.cut('agent');
  await until('the link is down', () => !agent.link.connected);
  asked = 0;
  await until('two hellos that cannot be made', () => asked > 3);
  const [hello, ...more] = coordinator.hellos as readonly Message<'hello'>[];
  assert.deepEqual([hello?.migrations, more], [[], []]);
  reports = [];
  await until('the next hello', () => coordinator.hellos.length > 1 && agent.link.connected);
});
