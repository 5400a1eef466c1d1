/**
 * What the tests of whole migrations share: one real coordinator process, two agents that speak the real
 * protocol over real sockets, a guest on the first of them, and the messages of a migration.
 *
 * Importing it installs the hooks; `g`, `a` and `b` are new for each test.
 */
import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach } from 'node:test';
import type { Message, Migration } from '@godwit/protocol';
import { CoordinatorProcess } from './coordinator-process.ts';
import { FakeAgent } from './fake-agent.ts';

export const MIB = 1024 ** 2;
export const WORKLOAD = {
  pattern: 'hotset',
  content: 'random',
  rateMiBps: 1,
  hotBytes: MIB,
} as const;

// One coordinator for all; every test has hosts and a guest of its own.
export const coordinator = new CoordinatorProcess('--test-faults');
export let tests = 0;
export let g: string;
export let a: FakeAgent;
export let b: FakeAgent;

before(() => coordinator.start());
after(() => coordinator.dispose());

beforeEach(async () => {
  tests += 1;
  g = `g${tests}`;
  a = new FakeAgent(coordinator, `a${tests}`);
  b = new FakeAgent(coordinator, `b${tests}`);
  await a.connect();
  await b.connect();
  const guest = { name: g, kind: 'workload', memoryBytes: 64 * MIB, host: a.host };
  const made = await coordinator.ask('POST', '/v1/guests', { ...guest, workload: WORKLOAD });
  assert.equal(made.status, 200, JSON.stringify(made.body));
});

afterEach(async () => {
  await a.disconnect();
  await b.disconnect();
});

/** The coordinator dies without a word; a new one takes its place. */
export async function killAndRestart(): Promise<void> {
  await Promise.all([a.closed(), b.closed(), coordinator.end('SIGKILL')]);
  coordinator.disarm();
  await coordinator.start();
}

export async function migrate(more: object = {}): Promise<Migration> {
  const body = { guest: g, to: b.host, ...more };
  const { status, body: migration } = await coordinator.ask<Migration>(
    'POST',
    '/v1/migrations',
    body,
  );
  assert.equal(status, 200, JSON.stringify(migration));
  return migration;
}

export function about(migration: Migration, epoch = 2) {
  return { migration: migration.id, guest: g, epoch };
}

export function roundReport(migration: Migration, round: number, remainingPages: number): Message {
  return {
    type: 'roundReport',
    migration: migration.id,
    round,
    pages: round === 0 ? 16_384 : 1_000,
    zeroPages: 0,
    bytes: (round === 0 ? 16_384 : 1_000) * 4128,
    copiedBytes: 0,
    durationMs: 50,
    remainingPages,
    dirtyBytesPerS: 1e6,
    bandwidthBytesPerS: 1e9,
  };
}

export function allPresent(migration: Migration): Message {
  return {
    type: 'allPresent',
    ...about(migration),
    verified: true,
    faults: 3,
    faultP50Us: 90,
    faultP99Us: 300,
    longestStallMs: 1,
    atMs: 1,
  };
}

export function freed(
  migration: Migration,
  figures: Partial<Message<'freed'>> = {},
): Message<'freed'> {
  const steps = { stopMs: 1, lastPagesMs: 1, stateMs: 0, landedMs: 1, runMs: 0 };
  return {
    type: 'freed',
    ...about(migration),
    rounds: 2,
    pages: 17_384,
    zeroPages: 0,
    bytes: 71e6,
    copiedBytes: 0,
    transferMs: 71,
    totalMs: 99,
    downtimeMs: 3,
    steps,
    clockOffsetMs: 0,
    clockErrorMs: 0,
    verifyMs: 0,
    ...figures,
  };
}

/** The target runs it, has all pages, and the source gives its memory back. */
export function finish(migration: Migration, figures?: Partial<Message<'freed'>>): void {
  const guest = a.guests.get(g)!;
  b.guests.set(g, { ...guest, epoch: 2 });
  a.guests.delete(g);
  a.migrations.clear();
  b.migrations.clear();
  b.send({ type: 'running', ...about(migration), missingPages: 0, atMs: 1 });
  b.send(allPresent(migration));
  a.send(freed(migration, figures));
  b.beat();
  a.beat();
}

export function ended(migration: Migration): Promise<Migration> {
  return coordinator.until<Migration>(
    `/v1/migrations/${migration.id}`,
    (view) => view.endedAtMs !== undefined,
  );
}
