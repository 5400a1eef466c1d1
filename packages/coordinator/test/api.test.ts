/** The API as a client meets it: every error with its code and status, access, start and end. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { request } from 'node:http';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { AuditResult, ConsoleAddress, Guest, Host, Status } from '@godwit/protocol';
import { WebSocket } from 'ws';
import { CoordinatorProcess } from './coordinator-process.ts';
import { FakeAgent } from './fake-agent.ts';

const MIB = 1024 ** 2;
const WORKLOAD = { pattern: 'uniform', content: 'random', rateMiBps: 1 } as const;
const GUEST = { name: 'g', kind: 'workload', memoryBytes: 64 * MIB, workload: WORKLOAD } as const;

describe('the API', () => {
  const coordinator = new CoordinatorProcess();
  let a: FakeAgent;
  let b: FakeAgent;

  before(async () => {
    await coordinator.start();
    a = new FakeAgent(coordinator, 'a');
    b = new FakeAgent(coordinator, 'b');
    b.freeBytes = 2 * 1024 ** 3;
    await a.connect();
    await b.connect();
  });

  after(() => coordinator.dispose());

  it('places a guest on the host with the most free memory, and shows it', async () => {
    const { status, body: guest } = await coordinator.ask<Guest>('POST', '/v1/guests', GUEST);
    assert.equal(status, 200, JSON.stringify(guest));
    assert.deepEqual([guest.host, guest.state, guest.epoch], ['a', 'running', 1]);
    const { body: guests } = await coordinator.ask<Guest[]>('GET', '/v1/guests');
    assert.deepEqual(
      guests.map((each) => each.name),
      ['g'],
    );
    const { body: host } = await coordinator.ask<Host>('GET', '/v1/hosts/a');
    assert.deepEqual([host.state, host.guests, host.supervised], ['connected', 1, false]);
    const { body: status1 } = await coordinator.ask<Status>('GET', '/v1/status');
    assert.deepEqual([status1.hosts, status1.guests, status1.openMigrations], [2, 1, 0]);
  });

  const program = Buffer.from('ELF').toString('base64');
  const machine = { name: 'm', kind: 'machine', memoryBytes: 64 * MIB, elf: program };
  const refusals: readonly [
    why: string,
    method: string,
    path: string,
    body: unknown,
    status: number,
    code: string,
  ][] = [
    ['unknown guest', 'GET', '/v1/guests/none', undefined, 404, 'guest.not_found'],
    ['unknown host', 'GET', '/v1/hosts/none', undefined, 404, 'host.not_found'],
    ['unknown migration', 'GET', '/v1/migrations/m-NONE', undefined, 404, 'migration.not_found'],
    ['unknown path', 'GET', '/v1/none', undefined, 404, 'request.invalid'],
    ['a name twice', 'POST', '/v1/guests', GUEST, 409, 'guest.exists'],
    ['a bad name', 'POST', '/v1/guests', { ...GUEST, name: 'G!' }, 400, 'request.invalid'],
    [
      'a field too many',
      'POST',
      '/v1/guests',
      { ...GUEST, name: 'h', colour: 1 },
      400,
      'request.invalid',
    ],
    [
      'half a page',
      'POST',
      '/v1/guests',
      { ...GUEST, name: 'h', memoryBytes: 4097 },
      400,
      'guest.bad_spec',
    ],
    [
      'too much memory',
      'POST',
      '/v1/guests',
      { ...GUEST, name: 'h', memoryBytes: 4 * 1024 ** 3 },
      400,
      'guest.bad_spec',
    ],
    [
      'a machine without a program',
      'POST',
      '/v1/guests',
      { ...machine, elf: undefined },
      400,
      'guest.bad_spec',
    ],
    [
      'a workload without a pattern',
      'POST',
      '/v1/guests',
      { ...GUEST, name: 'h', workload: undefined },
      400,
      'guest.bad_spec',
    ],
    [
      'no such host',
      'POST',
      '/v1/guests',
      { ...GUEST, name: 'h', host: 'd' },
      404,
      'host.not_found',
    ],
    [
      'no room',
      'POST',
      '/v1/guests',
      { ...GUEST, name: 'h', host: 'b', memoryBytes: 3 * 1024 ** 3 },
      409,
      'host.no_room',
    ],
    ['a body that is no JSON', 'POST', '/v1/guests', '{', 400, 'request.invalid'],
    ['rm of a running guest', 'DELETE', '/v1/guests/g', undefined, 409, 'guest.running'],
    ['discard at the owner', 'POST', '/v1/guests/g/discard', { host: 'a' }, 409, 'guest.running'],
    ['discard of nothing', 'POST', '/v1/guests/g/discard', { host: 'b' }, 400, 'request.invalid'],
    ['fence without confirm', 'POST', '/v1/hosts/a/fence', {}, 400, 'request.invalid'],
    [
      'fence of a connected host',
      'POST',
      '/v1/hosts/a/fence',
      { confirm: true },
      409,
      'host.not_fenceable',
    ],
    [
      'move of an unknown guest',
      'POST',
      '/v1/migrations',
      { guest: 'x', to: 'b' },
      404,
      'guest.not_found',
    ],
    [
      'move to an unknown host',
      'POST',
      '/v1/migrations',
      { guest: 'g', to: 'd' },
      404,
      'host.not_found',
    ],
    ['move to where it is', 'POST', '/v1/migrations', { guest: 'g', to: 'a' }, 409, 'host.same'],
    [
      'an unknown mode',
      'POST',
      '/v1/migrations',
      { guest: 'g', to: 'b', mode: 'fast' },
      400,
      'request.invalid',
    ],
    [
      'cancel of nothing',
      'POST',
      '/v1/migrations/m-NONE/cancel',
      undefined,
      404,
      'migration.not_found',
    ],
  ];
  for (const [why, method, path, body, status, code] of refusals) {
    it(`${why}: ${code}`, async () => {
      const answer = await coordinator.ask(method, path, body);
      assert.equal(answer.body.error?.code, code, JSON.stringify(answer.body));
      assert.equal(answer.status, status);
      assert.ok(answer.body.error.message.length > 5 && !answer.body.error.message.includes('\n'));
    });
  }

  it('one open migration a guest; the busy one is named', async () => {
    a.onGrant = undefined;
    const asks = [1, 2, 3].map(() =>
      coordinator.ask('POST', '/v1/migrations', { guest: 'g', to: 'b' }),
    );
    const answers = await Promise.all(asks);
    assert.deepEqual(answers.map((each) => each.status).sort(), [200, 409, 409]);
    const busy = answers.find((each) => each.status === 409);
    assert.equal(busy?.body.error?.code, 'guest.busy');
    const grant = await a.next('grant');
    const audit = await coordinator.ask('POST', '/v1/guests/g/audit');
    assert.equal(audit.body.error?.code, 'guest.busy');
    a.send({
      type: 'failed',
      request: grant.request,
      error: { code: 'internal', detail: '{"why":"test"}' },
    });
    await coordinator.until<Guest>('/v1/guests/g', (guest) => guest.migration === undefined);
  });

  it('audits against the witness: a count below the highest heard fails', async () => {
    const guest = a.guests.get('g')!;
    a.guests.set('g', { ...guest, writes: 5_000 });
    a.beat();
    await coordinator.until<Guest>('/v1/guests/g', (now) => now.witnessWrites === 5_000);
    const audit = async (writes: number) => {
      const asked = coordinator.ask<AuditResult>('POST', '/v1/guests/g/audit');
      const { request: number, witnessWrites } = await a.next('auditGuest');
      assert.equal(witnessWrites, 5_000);
      const result = { pages: 16_384, wrong: 0, writes, durationMs: 3 };
      a.send({ type: 'done', request: number, audit: result });
      return (await asked).body;
    };
    assert.equal((await audit(5_001)).ok, true);
    const rolledBack = await audit(4_999);
    assert.equal(rolledBack.ok, false);
    assert.match(rolledBack.why ?? '', /4999.*5000/);
  });

  it('a new rate is the one the next host is told of', async () => {
    const asked = coordinator.ask<Guest>('POST', '/v1/guests/g/rate', { rateMiBps: null });
    const { request: number, rateMiBps } = await a.next('setRate');
    assert.equal(rateMiBps, undefined);
    a.send({ type: 'done', request: number });
    assert.equal((await asked).status, 200);
    const { body } = await coordinator.ask<Guest & { spec: { workload: object } }>(
      'GET',
      '/v1/guests/g',
    );
    assert.equal('rateMiBps' in body.spec.workload, false);
  });

  it('says where the console is', async () => {
    const { body } = await coordinator.ask<ConsoleAddress>('GET', '/v1/guests/g/console');
    assert.equal(body.url, `ws://127.0.0.1:${7500 + 'a'.charCodeAt(0)}/v1/console`);
  });

  it('what the agent says of a program is the answer, and nothing stays', async () => {
    a.received.length = 0;
    const answer = a.next('createGuest');
    a.refuses = { code: 'guest.bad_spec', detail: '{"why":"not a RISC-V ELF file"}' };
    const { body, status } = await coordinator.ask('POST', '/v1/guests', { ...machine, host: 'a' });
    assert.equal((await answer).elf?.length, 3);
    assert.deepEqual([status, body.error?.code], [400, 'guest.bad_spec']);
    assert.equal((await coordinator.ask('GET', '/v1/guests/m')).status, 404);
    a.refuses = undefined;
  });

  it('stops and removes; a host that is away is unreachable', async () => {
    const stopped = await coordinator.ask<Guest>('POST', '/v1/guests/g/stop');
    assert.equal(stopped.body.state, 'stopped');
    const again = await coordinator.ask('POST', '/v1/guests/g/stop');
    assert.equal(again.body.error?.code, 'guest.not_running');
    const move = await coordinator.ask('POST', '/v1/migrations', { guest: 'g', to: 'b' });
    assert.equal(move.body.error?.code, 'guest.not_running');
    await a.disconnect();
    const away = await coordinator.ask('DELETE', '/v1/guests/g');
    assert.deepEqual([away.status, away.body.error?.code], [503, 'host.unreachable']);
    await a.connect();
    assert.equal((await coordinator.ask('DELETE', '/v1/guests/g')).status, 200);
    assert.equal((await coordinator.ask('GET', '/v1/guests/g')).status, 404);
  });

  it('a page of another site may not speak to it, nor a name that is rebound to it', async () => {
    const foreign = await coordinator.ask('GET', '/v1/status', undefined, {
      origin: 'http://evil.example',
    });
    assert.deepEqual([foreign.status, foreign.body.error?.code], [401, 'auth.token']);
    const { port } = new URL(coordinator.url);
    const headers = { host: `evil.example:${port}` };
    const rebound = request({ host: '127.0.0.1', port, path: '/v1/status', headers });
    rebound.end();
    const [response] = await once(rebound, 'response');
    assert.equal(response.statusCode, 401);
    response.resume();
  });

  it('watching an unknown migration is an ordinary 404', async () => {
    const url = `${coordinator.url.replace('http', 'ws')}/v1/migrations/m-NONE/watch`;
    const socket = new WebSocket(url);
    const [, response] = await once(socket, 'unexpected-response');
    assert.equal(response.statusCode, 404);
    response.destroy();
  });
});

describe('a cluster token', () => {
  const coordinator = new CoordinatorProcess('--token', 'open-sesame');
  before(() => coordinator.start());
  after(() => coordinator.dispose());

  it('is asked of everybody', async () => {
    const none = await coordinator.ask('GET', '/v1/status');
    assert.deepEqual([none.status, none.body.error?.code], [401, 'auth.token']);
    const wrong = { authorization: 'Bearer open-sesam' };
    assert.equal((await coordinator.ask('GET', '/v1/status', undefined, wrong)).status, 401);
    const right = { authorization: 'Bearer open-sesame' };
    assert.equal((await coordinator.ask('GET', '/v1/status', undefined, right)).status, 200);
    const agent = new FakeAgent(coordinator, 'a');
    await assert.rejects(agent.dial(), /401/);
    await agent.dial(right);
    await agent.disconnect();
  });
});

describe('start and end', () => {
  const coordinator = new CoordinatorProcess();
  before(() => coordinator.start());
  after(() => coordinator.dispose());

  const main = fileURLToPath(new URL('../src/main.ts', import.meta.url));
  async function startAnother(...args: string[]): Promise<{ code: number; stderr: string }> {
    const child = spawn(process.execPath, [main, ...args], { stdio: ['ignore', 'ignore', 'pipe'] });
    let stderr = '';
    child.stderr.on('data', (data) => {
      stderr += data;
    });
    const [code] = await once(child, 'close');
    return { code: code as number, stderr };
  }

  it('refuses what it cannot do in one line, a hint and the exit code of the table', async () => {
    const { host, port } = new URL(coordinator.url);
    const other = `${coordinator.stateDir}/other`;
    const cases = [
      [['--state-dir', coordinator.stateDir, '--listen', '127.0.0.1:0'], 4, 'in use by another'],
      [['--state-dir', other, '--listen', host, '--log-level', 'silent'], 4, `${port} is in use`],
      [['--state-dir', other, '--listen', '0.0.0.0:0'], 2, 'no cluster token'],
      [['--state-dir', other, '--listen', 'nonsense'], 2, 'not HOST:PORT'],
      [['--listen', '127.0.0.1:0'], 2, '--state-dir DIR is missing'],
      [['--state-dir', other, '--colour'], 2, '--colour'],
      [['--state-dir', other, '--log-level', 'loud'], 2, 'loud'],
    ] as const;
    const results = await Promise.all(cases.map(([args]) => startAnother(...args)));
    cases.forEach(([, code, text], i) => {
      const { code: exit, stderr } = results[i]!;
      assert.equal(exit, code, stderr);
      assert.match(stderr, /^error: .*\n(hint: .*\n)?$/);
      assert.ok(stderr.includes(text), stderr);
    });
  });

  it('SIGTERM ends it with 0 and leaves the agents to themselves', async () => {
    const a = new FakeAgent(coordinator, 'a');
    await a.connect();
    const closed = a.closed();
    assert.equal(await coordinator.end('SIGTERM'), 0);
    await closed;
    assert.equal(
      a.received.some((message) => message.type === 'shutdown'),
      false,
    );
  });

  it('shutdown ends the agents first, and their guests are not lost by it', async () => {
    await coordinator.start();
    const a = new FakeAgent(coordinator, 'a');
    await a.connect();
    await coordinator.ask('POST', '/v1/guests', GUEST);
    const exited = coordinator.exited();
    const asked = coordinator.ask('POST', '/v1/shutdown');
    const { request: number } = await a.next('shutdown');
    a.send({ type: 'done', request: number });
    assert.equal((await asked).status, 200);
    assert.equal(await exited, 0);
    await coordinator.start();
    const { body: guest } = await coordinator.ask<Guest>('GET', '/v1/guests/g');
    assert.deepEqual([guest.state, guest.end?.why], ['ended', 'shutdown']);
  });
});
