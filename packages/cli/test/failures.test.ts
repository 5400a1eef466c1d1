/**
 * Every way to fail against a coordinator made of tables: the line, the hint, the exit code, and that
 * nothing was asked when what was typed makes no sense. Where options come from when not typed, too.
 */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, beforeEach, describe, it } from 'node:test';
import { EXIT } from '../src/errors.ts';
import { call } from './call.ts';
import { errorOf, FakeCoordinator } from './fake-coordinator.ts';

let fake: FakeCoordinator;
beforeEach(async () => {
  fake = await FakeCoordinator.start();
});
afterEach(() => fake.stop());

const godwit = (...argv: string[]) => call([...argv, '--coordinator', fake.url]);

describe('failures: one line, one hint, one exit code', () => {
  const cases: [
    what: string,
    route: string,
    error: Parameters<typeof errorOf>,
    argv: string[],
    exit: number,
  ][] = [
    [
      'unknown guest',
      'GET /v1/guests/nope',
      ['guest.not_found', { guest: 'nope', known: 'web1' }],
      ['guest', 'show', 'nope'],
      3,
    ],
    [
      'unknown host',
      'POST /v1/migrations',
      ['host.not_found', { host: 'd', known: 'a, b, c' }],
      ['guest', 'migrate', 'web1', '--to', 'd'],
      3,
    ],
    [
      'no room',
      'POST /v1/migrations',
      ['host.no_room', { host: 'b', neededBytes: 2 ** 30, freeBytes: 0 }],
      ['guest', 'migrate', 'web1', '--to', 'b'],
      4,
    ],
    [
      'same host',
      'POST /v1/migrations',
      ['host.same', { guest: 'web1', host: 'a' }],
      ['guest', 'migrate', 'web1', '--to', 'a'],
      4,
    ],
    [
      'a name twice',
      'POST /v1/guests',
      ['guest.exists', { guest: 'web1', host: 'a' }],
      ['guest', 'create', 'web1', '--image', 'kv'],
      4,
    ],
    [
      'busy',
      'POST /v1/migrations',
      ['guest.busy', { guest: 'web1', migration: 'm-1' }],
      ['guest', 'migrate', 'web1', '--to', 'b'],
      4,
    ],
    [
      'too late to cancel',
      'POST /v1/migrations/m-1/cancel',
      ['migration.past_cancel', { migration: 'm-1', phase: 'released' }],
      ['migration', 'cancel', 'm-1'],
      4,
    ],
    [
      'host away',
      'POST /v1/migrations',
      ['host.unreachable', { host: 'b' }],
      ['guest', 'migrate', 'web1', '--to', 'b'],
      5,
    ],
  ];
  for (const [what, route, error, argv, exit] of cases) {
    it(what, async () => {
      const expected = errorOf(...error);
      fake.fails(route, expected);
      const said = await godwit(...argv);
      assert.equal(said.exit, exit);
      assert.equal(said.out, '');
      assert.equal(said.err, `error: ${expected.message}\nhint: ${expected.hint}\n`);
      const json = await godwit(...argv, '--json');
      assert.deepEqual(JSON.parse(json.err), {
        error: { code: expected.code, message: expected.message, hint: expected.hint, exit },
      });
    });
  }

  it('token missing, then given by flag, environment and configuration', async () => {
    fake.token = 'a-long-secret';
    const said = await godwit('host', 'ls');
    assert.equal(said.exit, EXIT.conflict);
    assert.match(said.err, /^error: cluster token refused: .*\nhint: give the same --token/);
    assert.equal((await godwit('host', 'ls', '--token', 'a-long-secret')).exit, EXIT.ok);
    const argv = ['host', 'ls', '--coordinator', fake.url];
    assert.equal((await call(argv, { env: { GODWIT_TOKEN: 'a-long-secret' } })).exit, EXIT.ok);
    const flagWins = [...argv, '--token', 'another-secret'];
    assert.equal(
      (await call(flagWins, { env: { GODWIT_TOKEN: 'a-long-secret' } })).exit,
      EXIT.conflict,
    );
  });

  it('coordinator down', async () => {
    const { url } = fake;
    await fake.stop();
    const said = await call(['guest', 'ls', '--coordinator', url]);
    assert.equal(said.exit, EXIT.unreachable);
    assert.equal(
      said.err,
      `error: no coordinator at ${url}: connection refused\n` +
        'hint: start one with godwit up, or give --coordinator URL\n',
    );
    fake = await FakeCoordinator.start();
  });

  const usage: [argv: string[], err: RegExp][] = [
    [['gest', 'ls'], /unknown command 'gest'\nhint: did you mean guest\?/],
    [['guest', 'lss'], /unknown command 'lss'\nhint: did you mean ls\?/],
    [['guest', 'ls', '--jsn'], /unknown option '--jsn'\nhint: did you mean --json\?/],
    [['guest', 'show'], /missing required argument 'guest'/],
    [['guest', 'show', 'a', 'b'], /too many arguments/],
    [['guest', 'migrate', 'web1'], /required option '--to <host>' not specified/],
    [
      ['guest', 'migrate', 'web1', '--to', 'b', '--mode', 'fast'],
      /'fast'.* precopy, postcopy, hybrid/,
    ],
    [
      ['guest', 'migrate', 'web1', '--to', 'b', '--channels', '0'],
      /'0': expected a whole number from 1 to 16/,
    ],
    [
      ['guest', 'migrate', 'web1', '--to', 'b', '--max-downtime', '300'],
      /'300': expected a duration such as 300ms/,
    ],
    [['guest', 'create', 'x'], /nothing to run was given\nhint: give one of --image/],
    [['guest', 'create', 'x', '--image', 'kv', '--workload', 'idle'], /more than one thing to run/],
    [
      ['guest', 'create', 'x', '--image', 'kv', '--rate', '1MiB/s'],
      /--rate is for a workload only/,
    ],
    [
      ['guest', 'create', 'x', '--image', 'kv', '--memory', '12parsecs'],
      /'12parsecs': expected a size such as/,
    ],
    [['guest', 'rate', 'x', 'fast'], /rate 'fast': expected a rate such as 50MiB\/s/],
    [
      ['guest', 'ls', '--coordinator', 'ftp://x'],
      /'ftp:\/\/x' is not the address of a coordinator/,
    ],
    [['completion', 'tcsh'], /no completion for shell 'tcsh'\nhint: there are bash, zsh, fish/],
  ];
  for (const [argv, err] of usage) {
    it(`usage: ${argv.join(' ')}`, async () => {
      const said = await call(argv);
      assert.equal(said.exit, EXIT.usage);
      assert.equal(said.out, '');
      assert.match(said.err, /^error: .*\nhint: .*\n$/);
      assert.match(said.err, err);
    });
  }

  it('a file that is not there is not found', async () => {
    const said = await godwit('guest', 'create', 'x', '--elf', '/nowhere/x.elf');
    assert.equal(said.exit, EXIT.notFound);
    assert.match(said.err, /^error: \/nowhere\/x\.elf: no such file\nhint: /);
    assert.equal(fake.asked.length, 0);
  });

  it('something else on the coordinator’s port', async () => {
    fake.on('GET /v1/status', () => undefined);
    const said = await godwit('status');
    assert.equal(said.exit, EXIT.unreachable);
    assert.match(said.err, /something else answers there/);
  });
});

describe('configuration', () => {
  let home: string;
  before(() => {
    home = mkdtempSync(join(tmpdir(), 'godwit-config-'));
    mkdirSync(join(home, 'godwit'));
  });
  after(() => rmSync(home, { recursive: true }));
  const configured = (text: string, env: Record<string, string> = {}) => {
    writeFileSync(join(home, 'godwit', 'config.json'), text);
    return call(['host', 'ls'], { env: { XDG_CONFIG_HOME: home, ...env } });
  };

  it('names the coordinator; the environment is stronger', async () => {
    assert.equal((await configured(JSON.stringify({ coordinator: fake.url }))).exit, EXIT.ok);
    const env = { GODWIT_COORDINATOR: fake.url };
    assert.equal((await configured('{"coordinator": "http://127.0.0.1:1"}', env)).exit, EXIT.ok);
  });

  it('is named in its errors', async () => {
    const said = await configured('[]');
    assert.equal(said.exit, EXIT.usage);
    assert.match(said.err, /godwit\/config\.json is not a JSON object\nhint: it looks like/);
  });

  it('names the variable with a bad value', async () => {
    const said = await call(['guest', 'migrate', 'a', '--to', 'b'], {
      env: { GODWIT_CHANNELS: 'many' },
    });
    assert.equal(said.exit, EXIT.usage);
    assert.match(said.err, /GODWIT_CHANNELS is 'many': expected a whole number/);
  });
});
