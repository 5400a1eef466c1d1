/**
 * Supervisor and daemon as real processes, killed for real. Goal: an end is proved once and told until it
 * is heard, the daemon comes back without its guests, nobody shares a directory, and nothing is left
 * behind.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { stateDir, until, workloadSpec } from './support/agent-parts.ts';
import { FakeCoordinator } from './support/fake-coordinator.ts';

const MAIN = fileURLToPath(new URL('../src/main.ts', import.meta.url));

interface Ready {
  readonly control: string;
  readonly pid: number;
  readonly daemonPid: number;
}

/** One `main.ts` and the daemons it starts. */
class AgentProcess {
  readonly child: ChildProcess;
  readonly ready: Ready[] = [];
  stderr = '';

  constructor(t: TestContext, flags: readonly string[]) {
    const listen = ['--listen', '127.0.0.1:0', '--page-ports', '0', '--memory', '64MiB'];
    this.child = spawn(process.execPath, [MAIN, '--name', 'a', ...listen, ...flags], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let text = '';
    this.child.stdout?.on('data', (data: Buffer) => {
      text += data;
      const lines = text.split('\n');
      text = lines.pop() ?? '';
      for (const line of lines) this.ready.push(JSON.parse(line));
    });
    this.child.stderr?.on('data', (data: Buffer) => {
      this.stderr += data;
    });
    t.after(() => {
      for (const pid of [this.child.pid, ...this.ready.map(({ daemonPid }) => daemonPid)]) {
        if (pid !== undefined && isAlive(pid)) process.kill(pid, 'SIGKILL');
      }
    });
  }

  async isReady(times = 1): Promise<Ready> {
    await until(`ready ${times}`, () => this.ready.length >= times || this.exited, 30_000);
    assert.ok(this.ready.length >= times, this.stderr);
    return this.ready[times - 1] as Ready;
  }

  get exited(): boolean {
    return this.child.exitCode !== null || this.child.signalCode !== null;
  }

  /** Exit code, when stderr is read to its end. */
  async end(): Promise<number | null> {
    if (!this.exited) await once(this.child, 'close');
    return this.child.exitCode;
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

async function start(t: TestContext, flags: readonly string[] = []) {
  const coordinator = await FakeCoordinator.listen();
  t.after(() => coordinator.close());
  const dir = stateDir(t);
  const common = ['--state-dir', dir, '--coordinator', coordinator.url, '--log-level', 'warn'];
  const agent = new AgentProcess(t, [...common, ...flags]);
  return { coordinator, dir, common, agent };
}

test('a daemon that is killed is proved dead, and its successor runs no guest', async (t) => {
  const { coordinator, agent } = await start(t);
  const first = await agent.isReady();
  await until(
    'both hellos',
    () => coordinator.isConnected('agent') && coordinator.isConnected('supervisor'),
  );
  const [life] = coordinator.hellos.filter(({ role }) => role === 'agent');
  const done = await coordinator.ask({ type: 'createGuest', spec: workloadSpec('w'), epoch: 3 });
  assert.equal(done.type, 'done');
  process.kill(first.daemonPid, 'SIGKILL');
  await until('the proof', () => coordinator.all('died').length > 0);
  const { death } = coordinator.all('died')[0]!;
  assert.equal(death.incarnation, life?.incarnation);
  assert.match(death.exit, /SIGKILL/);
  assert.deepEqual(death.owned, [{ guest: 'w', epoch: 3 }]);
  assert.deepEqual(death.ran, []);
  const second = await agent.isReady(2);
  assert.notEqual(second.daemonPid, first.daemonPid);
  assert.equal(second.pid, first.pid);
  const lives = () => coordinator.hellos.filter(({ role }) => role === 'agent');
  await until('its hello', () => lives().length === 2);
  assert.deepEqual(lives()[1]?.guests, []);
  assert.notEqual(lives()[1]?.incarnation, life?.incarnation);
  agent.child.kill('SIGTERM');
  assert.equal(await agent.end(), 0, agent.stderr);
});

test('SIGTERM asks for other hosts first; the coordinator says when it is over', async (t) => {
  const { coordinator, agent } = await start(t);
  await agent.isReady();
  await until('the agent', () => coordinator.isConnected('agent'));
  await coordinator.ask({ type: 'createGuest', spec: workloadSpec('w'), epoch: 3 });
  agent.child.kill('SIGTERM');
  await until('it asks', () => coordinator.all('leaving').length > 0);
  coordinator.send({ type: 'leave', moved: 0, left: 1, isOver: true, note: 'no room' });
  assert.equal(await agent.end(), 0, agent.stderr);
  assert.match(agent.stderr, /these guests end with this host/);
});

test('a second SIGTERM ends it at once, guests and all', async (t) => {
  const { coordinator, agent } = await start(t);
  await agent.isReady();
  await until('the agent', () => coordinator.isConnected('agent'));
  await coordinator.ask({ type: 'createGuest', spec: workloadSpec('w'), epoch: 3 });
  agent.child.kill('SIGTERM');
  await until('it asks', () => coordinator.all('leaving').length > 0);
  assert.equal(agent.exited, false);
  agent.child.kill('SIGTERM');
  assert.equal(await agent.end(), 0, agent.stderr);
});

test('a death while the coordinator is away is told when it is back', async (t) => {
  const { coordinator, agent } = await start(t);
  const { daemonPid } = await agent.isReady();
  await until('the supervisor', () => coordinator.isConnected('supervisor'));
  await until('the agent', () => coordinator.isConnected('agent'));
  const { port } = coordinator;
  await coordinator.close();
  process.kill(daemonPid, 'SIGKILL');
  await agent.isReady(2);
  const back = await FakeCoordinator.listen(port);
  t.after(() => back.close());
  await until('both are back', () => back.isConnected('supervisor') && back.isConnected('agent'));
  const proofs = back.hellos.filter(({ deaths }) => deaths.length > 0);
  const dead = coordinator.hellos.find(({ role }) => role === 'agent')?.incarnation;
  assert.ok(proofs.some(({ role }) => role === 'supervisor'));
  for (const { deaths } of proofs) assert.equal(deaths[0]?.incarnation, dead);
  // Heard now: the next connection does not repeat it.
  const hellos = back.hellos.length;
  back.cut('supervisor');
  await until('another hello', () => back.hellos.length > hellos);
  assert.deepEqual(back.hellos.at(-1)?.deaths, []);
  agent.child.kill('SIGTERM');
  assert.equal(await agent.end(), 0, agent.stderr);
});

test('a daemon outlives its supervisor, and a second agent on its directory is refused', async (t) => {
  const { coordinator, common, agent } = await start(t);
  const { daemonPid } = await agent.isReady();
  await until('the agent', () => coordinator.isConnected('agent'));
  agent.child.kill('SIGKILL');
  await once(agent.child, 'exit'); // Not 'close': the daemon holds its stderr.
  await until('the supervisor is gone', () => !coordinator.isConnected('supervisor'));
  const second = new AgentProcess(t, common);
  assert.equal(await second.end(), 4);
  assert.match(second.stderr, /^error: .* is in use by another agent\nhint: /m);
  assert.ok(isAlive(daemonPid));
  const done = await coordinator.ask({ type: 'createGuest', spec: workloadSpec('w'), epoch: 1 });
  assert.equal(done.type, 'done', 'it works on');
  assert.equal(coordinator.all('died').length, 0);
  process.kill(daemonPid, 'SIGINT');
  await until('its end', () => !isAlive(daemonPid));
});

test('the shutdown of the cluster ends daemon and supervisor with their guests', async (t) => {
  const { coordinator, agent } = await start(t);
  const { daemonPid } = await agent.isReady();
  await until(
    'both',
    () => coordinator.isConnected('agent') && coordinator.isConnected('supervisor'),
  );
  await coordinator.ask({ type: 'createGuest', spec: workloadSpec('w'), epoch: 1 });
  coordinator.send({ type: 'shutdown', request: 99 });
  assert.equal(await agent.end(), 0, agent.stderr);
  assert.ok(!isAlive(daemonPid));
  assert.ok(coordinator.all('done').some(({ request }) => request === 99));
});

test('what cannot start says why in one line and a hint, with the exit code of the table', async (t) => {
  const occupant = createServer().listen(0, '127.0.0.1');
  await once(occupant, 'listening');
  t.after(() => occupant.close());
  const { port } = occupant.address() as { port: number };
  const cases: [string[], number, RegExp][] = [
    [['--listen', `127.0.0.1:${port}`], 4, /^error: 127\.0\.0\.1:\d+ is in use\nhint: .+\n$/],
    [['--listen', '0.0.0.0:0'], 2, /^error: .*no cluster token is given\nhint: .+\n$/],
    [['--frobnicate'], 2, /^error: .*frobnicate.*\n$/],
  ];
  for (const [flags, exit, stderr] of cases) {
    const agent = new AgentProcess(t, [
      '--state-dir',
      stateDir(t),
      '--log-level',
      'silent',
      ...flags,
    ]);
    assert.equal(await agent.end(), exit, flags.join(' '));
    assert.match(agent.stderr, stderr);
    assert.equal(agent.ready.length, 0);
  }
});
