/**
 * A real cluster, watched: every answer of every route against its schema, the event stream through a
 * whole migration, and the figures that Prometheus, the dashboard and the alerts read.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { Migration } from '@godwit/protocol';
import { errorBody, ROUTES, type Route, type RouteId } from '@godwit/protocol/http-api';
import { Cluster } from '../src/cluster.ts';
import { watchWorld } from '../src/event-client.ts';

const MIB = 1024 ** 2;
const DEADLINE_MS = 60_000;
const PACKAGING = fileURLToPath(new URL('../../../packaging/', import.meta.url));

/** For node:test's `skip`: not everybody has it; the form and the names are looked at in any case. */
const NO_PROMTOOL =
  spawnSync('promtool', ['--version']).error !== undefined &&
  'needs promtool: install Debian package prometheus';

const stateDir = mkdtempSync(join(tmpdir(), 'godwit-watched-'));
let cluster: Cluster;
const asked = new Set<RouteId>();

before(async () => {
  cluster = await Cluster.start({ agents: 2, port: 0, stateDir, memoryBytes: 512 * MIB });
});
after(async () => {
  await cluster.stop();
  rmSync(stateDir, { recursive: true, force: true });
});

/** Asks as any HTTP client does; the answer must be what the route table says. */
async function ask<T = unknown>(
  id: RouteId,
  params: Record<string, string> = {},
  body?: unknown,
  wanted = 200,
): Promise<T> {
  asked.add(id);
  const route: Route = ROUTES[id];
  const path = route.path.replace(/:(\w+)/g, (_, name: string) => params[name]!);
  const response = await fetch(cluster.url + path, {
    method: route.method,
    ...(body !== undefined && {
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
    }),
    signal: AbortSignal.timeout(DEADLINE_MS),
  });
  const value: unknown = await response.json();
  assert.equal(response.status, wanted, JSON.stringify(value));
  const schema = wanted === 200 ? route.answer : errorBody;
  if (typeof schema !== 'string') schema.parse(value);
  return value as T;
}

const text = async (url: string) => (await fetch(url)).text();

describe('a real cluster', () => {
  const guest = 'w1';
  let migration: Migration;

  it('answers as the route table says, while a guest lives and moves', async () => {
    await ask('status');
    await ask('recovery');
    await ask('recover', {}, {});
    await ask('health');
    await ask('recovery');
    await ask('recover');
    await ask('hosts');
    await ask('host', { host: 'a' });
    const workload = { pattern: 'hotset', content: 'random', rateMiBps: 20, hotBytes: 4 * MIB };
    const memoryBytes = 32 * MIB;
    await ask(
      'createGuest',
      {},
      { name: guest, kind: 'workload', memoryBytes, host: 'a', workload },
    );
    const machine = { name: 'm1', kind: 'machine', memoryBytes, host: 'b' };
    const elf = readFileSync(
      fileURLToPath(new URL('../../machine/guests/bin/hello.elf', import.meta.url)),
    ).toString('base64');
    await ask('createGuest', {}, { ...machine, image: 'hello', elf });
    await ask('guests');
    await ask('console', { guest: 'm1' });
    await ask('setRate', { guest }, { rateMiBps: 10 });
    await ask('checkpointGuest', { guest }, { checkpoint: 'c1' });
    await ask('restoreGuest', { checkpoint: 'c1' }, { host: 'a' }, 409);
    await ask('images');
    migration = await ask('migrate', {}, { guest, to: 'b', mode: 'hybrid', verify: true });
    await ask('guest', { guest });
    await ask('migrate', {}, { guest, to: 'b' }, 409);
    const { id } = migration;
    const signal = AbortSignal.timeout(DEADLINE_MS);
    for await (const now of cluster.api.watchMigration(id, signal)) {
      await ask('migration', { id });
      migration = now;
    }
    assert.equal(migration.state, 'completed', JSON.stringify(migration.error));
    await ask('migrations');
    await ask('guest', { guest });
    await ask('cancelMigration', { id }, undefined, 409);
    await ask('auditGuest', { guest });
    await ask('discardGuest', { guest }, { host: 'a' }, 400);
    await ask('fenceHost', { host: 'a' }, { confirm: true }, 409);
    const checkpoint = 'm1-once';
    await ask('checkpointGuest', { guest: 'm1' }, { checkpoint });
    await ask('stopGuest', { guest: 'm1' });
    await ask('removeGuest', { guest: 'm1' });
    await ask('restoreGuest', { checkpoint }, { host: 'b' });
    await ask('stopGuest', { guest: 'm1' });
    await ask('removeGuest', { guest: 'm1' });
    await ask('images');
    await ask('openapi');
  });

  it('answers as the route table says, while a host is drained and filled again', async () => {
    const drained = async () => {
      for await (const now of cluster.api.watchDrain('b', AbortSignal.timeout(DEADLINE_MS))) {
        await ask('drain', { host: 'b' });
        if (now.endedAtMs !== undefined) return now.state;
      }
      return 'never';
    };
    await ask('limits');
    await ask('setLimits', {}, { perHost: 2 });
    await ask('planMigration', {}, { guest, to: 'a' });
    await ask('cordonHost', { host: 'a' }, { reason: 'a fan' });
    await ask('migrate', {}, { guest, to: 'a' }, 409);
    await ask('uncordonHost', { host: 'a' });
    await ask('planDrain', { host: 'b' }, {});
    await ask('drainHost', { host: 'b' }, {});
    assert.equal(await drained(), 'completed');
    await ask('drains');
    await ask('cancelDrain', { host: 'b' }, undefined, 409);
    await ask('planRestore', { host: 'b' }, {});
    await ask('restoreHost', { host: 'b' }, {});
    assert.equal(await drained(), 'completed');
  });

  it('tells a whole drain and its restore over the event stream', async () => {
    const stop = new AbortController();
    const signal = AbortSignal.any([stop.signal, AbortSignal.timeout(DEADLINE_MS)]);
    const told: string[] = [];
    let id: string | undefined;
    for await (const { drains } of watchWorld(cluster.api, ['drain'], signal)) {
      id ??= (await cluster.api.startDrain('b', 'drain', {})).id;
      const now = drains.get('b');
      if (now?.id !== id) continue;
      const rows = now.guests.map((row) => `${row.guest} ${row.state}`);
      const line = `${now.kind} ${now.state}: ${rows.join()}`;
      if (line !== told.at(-1)) told.push(line);
      if (now.state !== 'completed') continue;
      if (now.kind === 'restore') stop.abort();
      else id = (await cluster.api.startDrain('b', 'restore', {})).id;
    }
    for (const kind of ['drain', 'restore']) {
      assert.ok(told.includes(`${kind} moving: ${guest} moving`), told.join('\n'));
      assert.ok(told.includes(`${kind} completed: ${guest} moved`), told.join('\n'));
    }
  });

  it('has answered on every route of the table with an object, but the one that ends it', () => {
    const objects = Object.entries<Route>(ROUTES).filter(
      ([, { answer }]) => typeof answer !== 'string',
    );
    const missing = objects.map(([id]) => id as RouteId).filter((id) => !asked.has(id));
    assert.deepEqual(missing, ['shutdown']);
  });

  it('tells a whole migration over the event stream', async () => {
    const stop = new AbortController();
    const signal = AbortSignal.any([stop.signal, AbortSignal.timeout(DEADLINE_MS)]);
    let id: string | undefined;
    const states = new Set<string>();
    for await (const { guests, migrations } of watchWorld(
      cluster.api,
      ['guest', 'migration'],
      signal,
    )) {
      id ??= (await cluster.api.migrate({ guest, to: 'a', mode: 'precopy' })).id;
      const now = migrations.get(id);
      if (now !== undefined) states.add(now.state);
      if (now?.state === 'completed' && guests.get(guest)?.host === 'a') stop.abort();
    }
    assert.ok(states.has('completed'), [...states].join());
  });
});

describe('figures', () => {
  it('of coordinator and agents are good exposition text', async () => {
    for (const [who, page] of await pages()) {
      assert.deepEqual(mistakes(page), [], who);
    }
  });

  it('of coordinator and agents are read by promtool', { skip: NO_PROMTOOL }, async () => {
    for (const [who, page] of await pages()) {
      const promtool = spawnSync('promtool', ['check', 'metrics'], { input: page });
      // Its own rules of style are warnings with status 3; only text it cannot read is 1.
      assert.ok([0, 3].includes(promtool.status!), `${who}: ${promtool.stderr}`);
    }
  });

  it('count what happened', async () => {
    const [[, coordinator], [, source], [, target]] = await pages();
    assert.equal(
      figure(coordinator, 'godwit_migrations_total{outcome="completed",mode="hybrid"}'),
      5,
    );
    assert.equal(figure(coordinator, 'godwit_migration_downtime_seconds_count'), 6);
    assert.equal(figure(coordinator, 'godwit_guests{state="running"}'), 1);
    assert.equal(figure(coordinator, 'godwit_hosts{state="connected"}'), 2);
    assert.equal(figure(coordinator, 'godwit_host_up{host="a"}'), 1);
    const bytes = figure(coordinator, 'godwit_migration_bytes_total');
    assert.ok(bytes >= 64 * MIB, `${bytes}`);
    const sent = [source, target].map((page) => figure(page, 'godwit_agent_sent_bytes_total'));
    assert.equal(sent[0]! + sent[1]!, bytes);
    assert.equal(figure(source, 'godwit_agent_migrations_total{end="freed"}'), 3);
    assert.equal(figure(source, 'godwit_agent_migrations_total{end="allPresent"}'), 3);
    assert.equal(figure(target, 'godwit_agent_guests{state="running"}'), 0);
  });

  it('have the names that the dashboard and the alerts use', async () => {
    const names = new Set((await pages()).flatMap(([, page]) => seriesOf(page)));
    const used = ['grafana/godwit.json', 'prometheus/alerts.yml'].flatMap((file) =>
      [...readFileSync(PACKAGING + file, 'utf8').matchAll(/\b(?:godwit|process|nodejs)_\w+/g)]
        .map(([name]) => ({ file, name: name! }))
        .filter(({ name }) => !names.has(name)),
    );
    assert.deepEqual(used, []);
    const dashboard = JSON.parse(readFileSync(`${PACKAGING}grafana/godwit.json`, 'utf8'));
    const ids = dashboard.panels.map((panel: { id: number }) => panel.id);
    assert.equal(new Set(ids).size, ids.length);
  });

  it('are asked for by rules that promtool takes', { skip: NO_PROMTOOL }, () => {
    const files = ['check', 'rules', `${PACKAGING}prometheus/alerts.yml`];
    const promtool = spawnSync('promtool', files, { encoding: 'utf8' });
    assert.equal(promtool.status, 0, promtool.stdout + promtool.stderr);
  });

  it('have labels whose values do not grow with the guests', async () => {
    for (const [who, page] of await pages()) {
      const labels = new Set([...page.matchAll(/[{,](\w+)="/g)].map((match) => match[1]!));
      const known = ['le', 'state', 'host', 'outcome', 'mode', 'content', 'status', 'role', 'end'];
      const others = [...labels].filter((label) => !known.includes(label));
      assert.deepEqual(others, who === 'coordinator' ? ['version', 'component'] : [], who);
    }
  });
});

/** The coordinator's, and those of hosts a and b. */
async function pages(): Promise<[[string, string], [string, string], [string, string]]> {
  const [a, b] = cluster.hosts;
  return [
    ['coordinator', await text(`${cluster.url}/metrics`)],
    ['a', await text(`http://${a!.control}/metrics`)],
    ['b', await text(`http://${b!.control}/metrics`)],
  ];
}

function figure(page: string, series: string): number {
  const line = page.split('\n').find((each) => each.startsWith(`${series} `));
  assert.ok(line, `no ${series} in\n${page}`);
  return Number(line.slice(series.length + 1));
}

function seriesOf(page: string): string[] {
  return page
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map((line) => /^\w+/.exec(line)![0]);
}

/** What a reader of the text exposition format would stumble over. */
function mistakes(page: string): string[] {
  const found: string[] = [];
  const seen = new Set<string>();
  const typed = new Map<string, string>();
  for (const line of page.split('\n').slice(0, -1)) {
    const [, type, kind] = /^# TYPE (\w+) (gauge|counter|histogram)$/.exec(line) ?? [];
    if (type !== undefined) typed.set(type, kind!);
    if (line.startsWith('#')) continue;
    const [, name, labels = ''] =
      /^([a-z_]\w*)(\{(?:\w+="(?:[^"\\\n]|\\["\\n])*",?)+\})? [-+.\deEInfNa]+$/.exec(line) ?? [];
    if (name === undefined) found.push(`not a sample: ${line}`);
    else if (seen.has(name + labels)) found.push(`twice: ${name}${labels}`);
    else if (!typed.has(name) && !typed.has(name.replace(/_(bucket|sum|count)$/, ''))) {
      found.push(`no type: ${name}`);
    }
    seen.add(name + labels);
  }
  if (!page.endsWith('\n')) found.push('no line feed at the end');
  return found;
}
