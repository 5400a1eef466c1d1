/**
 * Three machines whose clocks are ten years apart: the coordinator's is fast, one host's is slow. They
 * register, guests move both ways, and what people are shown of it adds up.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { Guest, Host, Migration } from '@godwit/protocol';
import { ApiClient } from '../src/api-client.ts';
import { call, type Said } from './call.ts';

const BIN = fileURLToPath(new URL('../bin/godwit.js', import.meta.url));
const SHIFTED_CLOCK = new URL('../../coordinator/test/shifted-clock.ts', import.meta.url).href;
const DEADLINE_MS = 60_000;
const YEARS_MS = 3_653 * 24 * 3_600_000;
const DAY_MS = 24 * 3_600_000;

describe('machines whose clocks are ten years apart', () => {
  const directory = mkdtempSync(join(tmpdir(), 'godwit-clocks-'));
  const children: ChildProcess[] = [];
  let url: string;
  let api: ApiClient;
  const godwit = (...argv: string[]): Promise<Said> => call([...argv, '--coordinator', url]);

  /** Starts a daemon under its own clock. @returns its ready line */
  async function start(
    name: string,
    shiftMs: number,
    args: readonly string[],
  ): Promise<Record<string, unknown>> {
    const all = [BIN, ...args, '--state-dir', join(directory, name), '--log-level', 'error'];
    const child = spawn(process.execPath, all, {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: {
        ...process.env,
        NODE_OPTIONS: `--import ${SHIFTED_CLOCK}`,
        TEST_CLOCK_SHIFT_MS: String(shiftMs),
      },
    });
    children.push(child);
    const [line] = await once(createInterface({ input: child.stdout! }), 'line', {
      signal: AbortSignal.timeout(DEADLINE_MS),
    });
    return JSON.parse(line);
  }

  before(async () => {
    const ready = await start('c', YEARS_MS, ['coordinator', '--listen', '127.0.0.1:0']);
    url = String(ready.url);
    api = new ApiClient({ url });
    const agent = ['--listen', '127.0.0.1:0', '--page-ports', '0', '--memory', '128MiB'];
    for (const [name, shiftMs] of [
      ['a', 0],
      ['b', -YEARS_MS],
    ] as const) {
      const where = ['--coordinator', url, '--drain-timeout', '0'];
      await start(name, shiftMs, ['agent', '--name', name, ...agent, ...where]);
    }
    while ((await api.hosts()).length < 2);
  });
  after(async () => {
    // Hosts first: they say goodbye to somebody.
    for (const child of children.reverse()) {
      if (child.exitCode !== null) continue;
      child.kill('SIGTERM');
      await once(child, 'exit');
    }
    rmSync(directory, { recursive: true, force: true });
  });

  it('are connected, each by its own word', async () => {
    const hosts: Host[] = await api.hosts();
    assert.deepEqual(
      hosts.map(({ name, state }) => `${name} ${state}`),
      ['a connected', 'b connected'],
    );
  });

  it('move a guest both ways, and times are times', async () => {
    const workload = ['--workload', 'hotset', '--hot', '4MiB', '--rate', '20MiB/s'];
    const guest = ['guest', 'create', 'w1', '--host', 'a', '--memory', '32MiB', ...workload];
    assert.equal((await godwit(...guest)).exit, 0);
    for (const [to, mode] of [
      ['b', 'hybrid'],
      ['a', 'postcopy'],
    ] as const) {
      const move = ['guest', 'migrate', 'w1', '--to', to, '--mode', mode, '--verify'];
      const { exit, err } = await godwit(...move);
      assert.equal(exit, 0, err);
      const [last] = (await api.migrations({ guest: 'w1' })).slice(-1) as [Migration];
      assert.deepEqual([last.target, last.state], [to, 'completed']);
      const { totalMs = Number.NaN, downtimeMs = Number.NaN } = last.result ?? {};
      assert.ok(totalMs > 0 && totalMs < DAY_MS && downtimeMs >= 0 && downtimeMs <= totalMs);
      const shown = (await godwit('migration', 'show', last.id)).out;
      const times = [...shown.matchAll(/^ +\+(\S+) (ms|s) /gm)].map(([, n, unit]) => {
        return Number(n) * (unit === 's' ? 1000 : 1);
      });
      assert.ok(times.length > 5 && Math.max(...times) < DAY_MS, shown);
      assert.deepEqual(
        times,
        times.toSorted((x, y) => x - y),
      );
    }
    const guests: Guest[] = await api.guests();
    assert.deepEqual(
      guests.map(({ name, host, state }) => `${name} ${host} ${state}`),
      ['w1 a running'],
    );
    assert.equal((await godwit('guest', 'audit', 'w1')).exit, 0);
  });

  it('plan and drain as ever, and give up nobody for silence', async () => {
    const { out, exit } = await godwit('host', 'drain', 'a');
    assert.equal(exit, 0, out);
    assert.match(out, /^drain of host a completed: 1 guest moved/m);
    assert.equal((await api.guests())[0]?.host, 'b');
    assert.ok((await api.hosts()).every(({ state }) => state === 'connected'));
    assert.match((await godwit('host', 'drains')).out, /^a +drain +completed +100 %/m);
  });
});
