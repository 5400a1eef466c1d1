/**
 * Separate machines, as network namespaces: each daemon has an address of its own, and what lies between
 * two of them can be taken away.
 *
 *   coordinator (.1, with the bridge) --- a (.2)
 *                                     \-- b (.3)
 *
 * Needs leave to make namespaces (root); skipped where there is none.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, execFile, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const BIN = fileURLToPath(new URL('../bin/godwit.js', import.meta.url));
const run = promisify(execFile);
const NET = '10.231.77';
const COORDINATOR = `http://${NET}.1:7400`;
const DEADLINE_MS = 60_000;
const prefix = `gw${process.pid}`;
const ns = (name: string) => `${prefix}-${name}`;
const mayMake = spawnSync('ip', ['netns', 'add', ns('probe')]).status === 0;
if (mayMake) spawnSync('ip', ['netns', 'delete', ns('probe')]);

const ip = (...args: string[]) => run('ip', args);
const inside = (name: string, ...args: string[]) => run('ip', ['-n', ns(name), ...args]);

async function makeNetwork(): Promise<void> {
  for (const name of ['hub', 'a', 'b']) {
    await ip('netns', 'add', ns(name));
    await inside(name, 'link', 'set', 'lo', 'up');
  }
  await inside('hub', 'link', 'add', 'br0', 'type', 'bridge');
  await inside('hub', 'addr', 'add', `${NET}.1/24`, 'dev', 'br0');
  await inside('hub', 'link', 'set', 'br0', 'up');
  for (const [name, host] of [
    ['a', 2],
    ['b', 3],
  ] as const) {
    const peer = ['type', 'veth', 'peer', 'name', 'eth0', 'netns', ns(name)];
    await inside('hub', 'link', 'add', `to-${name}`, ...peer);
    await inside('hub', 'link', 'set', `to-${name}`, 'master', 'br0', 'up');
    await inside(name, 'addr', 'add', `${NET}.${host}/24`, 'dev', 'eth0');
    await inside(name, 'link', 'set', 'eth0', 'up');
  }
}

describe('separate machines', { skip: !mayMake && 'network namespaces are not permitted' }, () => {
  const directory = mkdtempSync(join(tmpdir(), 'godwit-netns-'));
  const token = join(directory, 'token');
  const children: ChildProcess[] = [];

  /** Starts a daemon on its own machine and waits for its ready line. */
  async function start(name: string, args: readonly string[]): Promise<void> {
    const all = ['netns', 'exec', ns(name), process.execPath, BIN, ...args];
    const child = spawn('ip', [...all, '--token-file', token, '--log-level', 'warn'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    children.push(child);
    await once(createInterface({ input: child.stdout! }), 'line', {
      signal: AbortSignal.timeout(DEADLINE_MS),
    });
  }

  /** The command line on the coordinator's machine. */
  async function godwit(...args: string[]): Promise<{ code: number; out: string; err: string }> {
    const at = ['--coordinator', COORDINATOR, '--token-file', token];
    const all = ['netns', 'exec', ns('hub'), process.execPath, BIN, ...args, ...at];
    try {
      const { stdout, stderr } = await run('ip', all, { timeout: DEADLINE_MS });
      return { code: 0, out: stdout, err: stderr };
    } catch (thrown) {
      const { code, stdout, stderr } = thrown as { code: number; stdout: string; stderr: string };
      return { code, out: stdout, err: stderr };
    }
  }

  before(async () => {
    await makeNetwork();
    const state = (name: string) => ['--state-dir', join(directory, name)];
    await start('hub', ['coordinator', ...state('hub'), '--listen', `${NET}.1:7400`]);
    // One says where it listens, the other listens everywhere and says where it is reached.
    const common = ['--coordinator', COORDINATOR, '--memory', '256MiB'];
    const a = ['--listen', `${NET}.2:7410`, '--page-ports', '7420-7429'];
    const b = ['--listen', '0.0.0.0:7410', '--advertise', `${NET}.3:7410`];
    await start('a', ['agent', '--name', 'a', ...state('a'), ...a, ...common]);
    await start('b', ['agent', '--name', 'b', ...state('b'), ...b, ...common]);
    const workload = ['--workload', 'hotset', '--hot', '4MiB', '--rate', '5MiB/s'];
    const guest = ['guest', 'create', 'w1', '--host', 'a', '--memory', '32MiB', ...workload];
    for (let tries = 0; ; tries++) {
      const { code, err } = await godwit(...guest);
      if (code === 0) break;
      assert.ok(tries < 20, err);
    }
  });
  after(async () => {
    for (const child of children) child.kill('SIGKILL');
    for (const name of ['hub', 'a', 'b']) {
      const { stdout } = await run('ip', ['netns', 'pids', ns(name)]).catch(() => ({ stdout: '' }));
      for (const pid of stdout.split('\n').filter(Boolean)) {
        try {
          process.kill(Number(pid), 'SIGKILL');
        } catch {
          // Gone with its parent.
        }
      }
      await ip('netns', 'delete', ns(name)).catch(() => {});
    }
    rmSync(directory, { recursive: true, force: true });
  });

  const whereabouts = async () => {
    const { host, state } = JSON.parse((await godwit('guest', 'show', 'w1', '--json')).out);
    return `${state} on ${host}`;
  };

  it('a target the source cannot reach is refused before anything moves, with its address', async () => {
    await inside('a', 'route', 'add', 'blackhole', `${NET}.3/32`);
    const { code, err } = await godwit('guest', 'migrate', 'w1', '--to', 'b');
    assert.notEqual(code, 0);
    assert.match(err, new RegExp(`${NET.replaceAll('.', '\\.')}\\.3:7410`));
    assert.equal(await whereabouts(), 'running on a');
    await inside('a', 'route', 'del', 'blackhole', `${NET}.3/32`);
  });

  it('page ports behind a firewall: refused before anything moves, with the address', async () => {
    const rule = ['ipproto', 'tcp', 'sport', '7420-7429', 'blackhole'];
    await inside('a', 'rule', 'add', ...rule);
    const { code, err } = await godwit('guest', 'migrate', 'w1', '--to', 'b');
    assert.notEqual(code, 0);
    assert.match(err, new RegExp(`${NET.replaceAll('.', '\\.')}\\.2:74[0-9]+`));
    assert.equal(await whereabouts(), 'running on a');
    await inside('a', 'rule', 'del', ...rule);
  });

  it('moves when the way is free, there and back', async () => {
    for (const to of ['b', 'a']) {
      const { code, err } = await godwit('guest', 'migrate', 'w1', '--to', to, '--verify');
      assert.equal(code, 0, err);
      assert.equal(await whereabouts(), `running on ${to}`);
    }
  });

  it('another token is refused by name', async () => {
    const wrong = ['host', 'ls', '--coordinator', COORDINATOR, '--token', 'not-the-token'];
    const all = ['netns', 'exec', ns('hub'), process.execPath, BIN, ...wrong];
    const { status, stderr } = spawnSync('ip', all, { encoding: 'utf8' });
    assert.notEqual(status, 0);
    assert.match(stderr, /^error: .*token/);
  });
});
