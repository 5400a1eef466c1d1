/**
 * Separate machines for tests: network namespaces with an address each, behind one bridge.
 *
 *   hub (.1, coordinator, command line) --- a (.2)
 *                                       \-- b (.3)
 *
 * A machine is a namespace: what happens on the way to it (no route, a firewall, a slow line) is done
 * with ip and tc inside, and nothing outside of it changes. Everything a test starts there ends with
 * `close`. Needs leave to make namespaces (root): where `mayMakeMachines` is false, tests are skipped.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, execFile, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { GuestDetail, Host, Migration } from '@godwit/protocol';

export type Machine = 'hub' | 'a' | 'b';

export interface Said {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

const BIN = fileURLToPath(new URL('../bin/godwit.js', import.meta.url));
const run = promisify(execFile);
const NET = '10.231.77';
const COORDINATOR = `http://${NET}.1:7400`;
const NUMBERS: Readonly<Record<Machine, number>> = { hub: 1, a: 2, b: 3 };
const NAMES = Object.keys(NUMBERS) as Machine[];
const DEADLINE_MS = 60_000;
const prefix = `gw${process.pid}`;
const namespaceOf = (machine: string) => `${prefix}-${machine}`;

export const mayMakeMachines = spawnSync('ip', ['netns', 'add', namespaceOf('probe')]).status === 0;
if (mayMakeMachines) spawnSync('ip', ['netns', 'delete', namespaceOf('probe')]);
/** For `describe`: false, or why its tests are skipped. */
export const SKIP = !mayMakeMachines && 'network namespaces are not permitted';

export class SeparateMachines {
  readonly #directory = mkdtempSync(join(tmpdir(), 'godwit-netns-'));
  readonly #children: ChildProcess[] = [];

  addressOf(machine: Machine): string {
    return `${NET}.${NUMBERS[machine]}`;
  }

  /** The network, a coordinator and both agents, which have registered when it resolves. */
  async start(): Promise<void> {
    for (const machine of NAMES) await this.#addMachine(machine);
    await this.daemon('hub', 'coordinator', [
      'coordinator',
      ...['--listen', `${this.addressOf('hub')}:7400`],
    ]);
    // One says where it listens, the other listens everywhere and says where it is reached.
    const a = ['--listen', `${this.addressOf('a')}:7410`, '--page-ports', '7420-7429'];
    const b = ['--listen', '0.0.0.0:7410', '--advertise', `${this.addressOf('b')}:7410`];
    await this.agent('a', 'a', a);
    await this.agent('b', 'b', b);
  }

  /** Starts an agent, and waits until the coordinator knows its host. */
  async agent(machine: Machine, name: string, args: readonly string[]): Promise<void> {
    const common = ['--coordinator', COORDINATOR, '--memory', '256MiB'];
    await this.daemon(machine, name, ['agent', '--name', name, ...args, ...common]);
    const isKnown = async () => (await this.godwit('host', 'show', name)).code === 0;
    await until(isKnown, `host ${name} does not register`);
  }

  /** Starts a daemon and waits for its ready line. */
  async daemon(machine: Machine, state: string, args: readonly string[]): Promise<void> {
    const common = ['--state-dir', join(this.#directory, state), '--token-file', this.#token];
    const all = [process.execPath, BIN, ...args, ...common, '--log-level', 'error'];
    const child = spawn('ip', ['netns', 'exec', namespaceOf(machine), ...all], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    this.#children.push(child);
    await once(createInterface({ input: child.stdout! }), 'line', {
      signal: AbortSignal.timeout(DEADLINE_MS),
    });
  }

  /** The command line on the coordinator's machine; a `--token` of its own replaces the cluster's. */
  async godwit(...args: string[]): Promise<Said> {
    const token = args.includes('--token') ? [] : ['--token-file', this.#token];
    const all = [process.execPath, BIN, ...args, '--coordinator', COORDINATOR, ...token];
    try {
      const { stdout, stderr } = await run('ip', ['netns', 'exec', namespaceOf('hub'), ...all], {
        timeout: DEADLINE_MS,
      });
      return { code: 0, out: stdout, err: stderr };
    } catch (thrown) {
      const { code, stdout, stderr } = thrown as { code: number; stdout: string; stderr: string };
      return { code, out: stdout, err: stderr };
    }
  }

  async #json<T>(...args: string[]): Promise<T> {
    const { code, out, err } = await this.godwit(...args, '--json');
    assert.equal(code, 0, err);
    return JSON.parse(out) as T;
  }

  guest = (name: string) => this.#json<GuestDetail>('guest', 'show', name);
  host = (name: string) => this.#json<Host>('host', 'show', name);

  /** The guest's newest migration. */
  async lastMove(guest: string): Promise<Migration> {
    const moves = await this.#json<Migration[]>('migration', 'ls', '--guest', guest);
    return moves.reduce((newest, move) => (move.queuedAtMs >= newest.queuedAtMs ? move : newest));
  }

  /** `ip` inside a machine. */
  ip(machine: Machine, ...args: string[]): Promise<unknown> {
    return run('ip', ['-n', namespaceOf(machine), ...args]);
  }

  /** Whatever a machine sends leaves it at this rate, and no faster. */
  shape(machine: Machine, rate: string): Promise<unknown> {
    const filter = ['tbf', 'rate', rate, 'burst', '64kb', 'latency', '50ms'];
    const device = ['qdisc', 'replace', 'dev', 'eth0', 'root'];
    return run('tc', ['-n', namespaceOf(machine), ...device, ...filter]);
  }

  async close(): Promise<void> {
    for (const child of this.#children) child.kill('SIGKILL');
    for (const machine of NAMES) {
      await endAll(namespaceOf(machine));
      await run('ip', ['netns', 'delete', namespaceOf(machine)]).catch(() => {});
    }
    rmSync(this.#directory, { recursive: true, force: true });
  }

  get #token(): string {
    return join(this.#directory, 'token');
  }

  async #addMachine(machine: Machine): Promise<void> {
    await run('ip', ['netns', 'add', namespaceOf(machine)]);
    await this.ip(machine, 'link', 'set', 'lo', 'up');
    const isHub = machine === 'hub';
    if (isHub) await this.ip('hub', 'link', 'add', 'br0', 'type', 'bridge');
    else {
      const peer = ['type', 'veth', 'peer', 'name', 'eth0', 'netns', namespaceOf(machine)];
      await this.ip('hub', 'link', 'add', `to-${machine}`, ...peer);
      await this.ip('hub', 'link', 'set', `to-${machine}`, 'master', 'br0', 'up');
    }
    const device = isHub ? 'br0' : 'eth0';
    await this.ip(machine, 'addr', 'add', `${this.addressOf(machine)}/24`, 'dev', device);
    await this.ip(machine, 'link', 'set', device, 'up');
  }
}

/** Asks until the answer is yes; the question itself takes its time. */
export async function until(isSo: () => Promise<boolean>, otherwise: string): Promise<void> {
  for (const endsMs = performance.now() + DEADLINE_MS; !(await isSo()); ) {
    assert.ok(performance.now() < endsMs, otherwise);
  }
}

/** Ends what runs in a namespace: the daemons are children of children. */
async function endAll(namespace: string): Promise<void> {
  const { stdout } = await run('ip', ['netns', 'pids', namespace]).catch(() => ({ stdout: '' }));
  for (const pid of stdout.split('\n').filter(Boolean)) {
    try {
      process.kill(Number(pid), 'SIGKILL');
    } catch {
      // Gone with its parent.
    }
  }
}
