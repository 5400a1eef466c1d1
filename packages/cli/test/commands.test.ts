/**
 * Every command against a coordinator made of tables: what is asked of it and what is printed.
 * failures.test.ts has the ways to fail.
 */
import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { EXIT } from '../src/errors.ts';
import { call } from './call.ts';
import {
  aGuest,
  aGuestDetail,
  aHost,
  aMigration,
  aPrediction,
  aResult,
  FakeCoordinator,
} from './fake-coordinator.ts';

let fake: FakeCoordinator;
beforeEach(async () => {
  fake = await FakeCoordinator.start();
});
afterEach(() => fake.stop());

const godwit = (...argv: string[]) => call([...argv, '--coordinator', fake.url]);

describe('lists', () => {
  it('prints hosts as aligned columns', async () => {
    const said = await godwit('host', 'ls');
    assert.equal(said.exit, EXIT.ok);
    const [header, first] = said.out.split('\n');
    assert.match(header!, /^HOST {2}STATE {6}ADDRESS {9}CORES/);
    assert.match(first!, /^a {5}connected {2}127\.0\.0\.1:7411 {2}2 {6}1 {7}0 {6}5 GiB/);
  });

  it('prints guests, in doubt as two words', async () => {
    fake.on('GET /v1/guests', () => [aGuest('web1'), aGuest('mem1', { state: 'doubt' })]);
    const said = await godwit('guest', 'ls');
    assert.match(said.out, /web1 +machine +a +running +256 MiB +1\.2 MiB\/s +38 MiB +4m/);
    assert.match(said.out, /mem1 .*in doubt/);
  });

  it('prints the API object with --json', async () => {
    const guests = [aGuest('web1')];
    fake.on('GET /v1/guests', () => guests);
    const said = await godwit('guest', 'ls', '--json');
    assert.deepEqual(JSON.parse(said.out), guests);
  });

  it('watches until interrupted, a JSON line at each change', async () => {
    fake.events([
      { event: 'snapshot', data: { guests: [aGuest('web1', { host: 'a' })] } },
      { event: 'change', data: { guests: [aGuest('web1', { host: 'b' })] } },
      {
        event: 'change',
        data: { gone: { hosts: [], guests: ['web1'], migrations: [], drains: [] } },
      },
    ]);
    const said = await call(['guest', 'ls', '--watch', '--json', '--coordinator', fake.url], {
      onOut: (soFar, signal) => {
        if (soFar.split('\n').length > 3) signal();
      },
    });
    assert.equal(said.exit, EXIT.interrupted);
    const hosts = said.out
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line)[0]?.host);
    assert.deepEqual(hosts, ['a', 'b', undefined]);
    assert.equal(fake.asked.at(-1)?.path, '/v1/events?kinds=guest');
  });

  it('filters migrations on the server', async () => {
    fake.on('GET /v1/migrations', () => [aMigration({ state: 'completed', result: aResult() })]);
    const said = await godwit('migration', 'ls', '--guest', 'mem1', '--open');
    assert.equal(fake.asked.at(-1)?.path, '/v1/migrations?guest=mem1&open=true');
    assert.match(said.out, /m-7q3f +mem1 +b +c +hybrid +completed/);
  });
});

describe('one guest', () => {
  it('says who holds what when in doubt, and what resolves it', async () => {
    fake.on('GET /v1/guests/web1', () =>
      aGuestDetail('web1', {
        state: 'doubt',
        evidence: 'since 12 s',
        holders: [
          {
            host: 'a',
            incarnation: '91c2ffff',
            reachable: true,
            silentMs: 0,
            says: 'offered epoch 8 to b, stopped, waits for an answer',
          },
          {
            host: 'b',
            incarnation: '04feffff',
            reachable: false,
            silentMs: 14_000,
            says: 'landed epoch 8',
          },
        ],
        verdict: { epoch: 8, owner: 'none' },
        resolve: [
          'resolves itself when b answers. Or, if you know that b is dead:',
          '  godwit host fence b --confirm',
        ],
      }),
    );
    const said = await godwit('guest', 'show', 'web1');
    assert.equal(
      said.out,
      'web1  in doubt  since 12 s\n' +
        '  a            offered epoch 8 to b, stopped, waits for an answer  (agent a, incarnation 91c2)\n' +
        '  b            not reachable since 14s, last said: landed epoch 8  (agent b, incarnation 04fe)\n' +
        '  coordinator  no verdict for epoch 8\n' +
        'resolves itself when b answers. Or, if you know that b is dead:\n' +
        '  godwit host fence b --confirm\n',
    );
  });

  it('sends a workload as the API has it', async () => {
    fake.on('POST /v1/guests', () => aGuest('mem1', { kind: 'workload' }));
    const said = await godwit(
      'guest',
      'create',
      'mem1',
      '--workload',
      'hotset',
      '--memory',
      '1GiB',
      '--rate',
      'unlimited',
      '--seed',
      '7',
    );
    assert.equal(said.exit, EXIT.ok, said.err);
    assert.deepEqual(fake.asked.at(-1)?.body, {
      name: 'mem1',
      kind: 'workload',
      memoryBytes: 1024 ** 3,
      harts: 1,
      clock: 'host',
      workload: { pattern: 'hotset', content: 'random', seed: 7, hotBytes: 64 * 1024 ** 2 },
    });
  });

  it('sends the program of an image', async () => {
    fake.on('POST /v1/guests', () => aGuest('web1'));
    const said = await godwit('guest', 'create', 'web1', '--image', 'hello', '--host', 'b');
    assert.equal(said.exit, EXIT.ok, said.err);
    const body = fake.asked.at(-1)?.body as { elf: string; host: string; image: string };
    assert.deepEqual([body.image, body.host], ['hello', 'b']);
    assert.equal(Buffer.from(body.elf, 'base64').subarray(1, 4).toString(), 'ELF');
  });

  it('fails when the audit does', async () => {
    const result = {
      guest: 'mem1',
      ok: false,
      pages: 10,
      wrong: 1,
      writes: 5,
      witnessWrites: 6,
      durationMs: 1,
      why: 'page 3',
    };
    fake.on('POST /v1/guests/mem1/audit', () => result);
    const said = await godwit('guest', 'audit', 'mem1');
    assert.equal(said.exit, EXIT.failed);
    assert.match(said.out, /WRONG.*witness heard 6: page 3/);
  });

  it('changes a rate', async () => {
    fake.on('POST /v1/guests/mem1/rate', () => aGuest('mem1'));
    await godwit('guest', 'rate', 'mem1', '1GiB/s');
    assert.deepEqual(fake.asked.at(-1)?.body, { rateMiBps: 1024 });
    await godwit('guest', 'rate', 'mem1', 'unlimited');
    assert.deepEqual(fake.asked.at(-1)?.body, { rateMiBps: null });
  });

  it('fences only when confirmed', async () => {
    fake.on('POST /v1/hosts/b/fence', () => ({ lost: ['web1'] }));
    assert.equal((await godwit('host', 'fence', 'b')).exit, EXIT.usage);
    assert.equal(fake.asked.length, 0);
    const said = await godwit('host', 'fence', 'b', '--confirm', '--discard-target');
    assert.equal(said.out, 'host b is fenced; lost: web1\n');
    assert.deepEqual(fake.asked[0]?.body, { confirm: true, discardTarget: true });
  });
});

const ROUND = {
  migration: 'm-7q3f',
  round: 0,
  pages: 262_144,
  zeroPages: 31_457,
  bytes: 1024 ** 3,
  copiedBytes: 0,
  durationMs: 410,
  remainingPages: 5_344,
  dirtyBytesPerS: 50 * 1024 ** 2,
  bandwidthBytesPerS: 2.5e9,
};
const DECIDED = [{ round: 0, action: 'stopAndCopy', reason: 'fits', atMs: 0 }];
const PROGRESS = {
  round: 0,
  pagesSent: 1,
  pagesTotal: 2,
  bytes: 1,
  bytesPerS: 2.5e9,
  faults: 0,
  remainingPages: 1,
  percent: 50,
};

describe('guest migrate', () => {
  const migrate = (...more: string[]) => godwit('guest', 'migrate', 'mem1', '--to', 'c', ...more);

  it('asks, follows the rounds, and ends with the downtime', async () => {
    fake.on('POST /v1/migrations', () => aMigration());
    fake.watch([
      aMigration({ progress: { ...PROGRESS, etaMs: 200 } }),
      aMigration({ rounds: [ROUND] }),
      aMigration({ rounds: [ROUND], decisions: DECIDED }),
      aMigration({
        rounds: [ROUND],
        decisions: DECIDED,
        state: 'completed',
        result: aResult(),
        prediction: aPrediction({ totalMs: 440, downtimeMs: 3.1 }),
      }),
    ]);
    const said = await migrate('--mode', 'hybrid', '--max-bandwidth', '200MiB/s', '--verify');
    assert.equal(said.exit, EXIT.ok, said.err);
    assert.deepEqual(fake.asked[0]?.body, {
      guest: 'mem1',
      to: 'c',
      mode: 'hybrid',
      maxBandwidthBytesPerS: 200 * 1024 ** 2,
      throttle: false,
      verify: true,
    });
    const lines = said.out.trimEnd().split('\n');
    assert.equal(lines[0], 'mem1  b -> c  hybrid  2 channels  m-7q3f');
    assert.match(lines[1]!, /50 % {2}2\.5 GB\/s {2}about 0\.20 s left/);
    assert.match(lines[2]!, /round 0 .*1 GiB {2}zero {2}12 % .*0\.41 s .*=> switch$/);
    assert.match(
      lines[3]!,
      /^done in 0\.46 s {3}downtime 3\.4 ms \(predicted 3\.1\) {3}1\.03 GiB moved {3}verified$/,
    );
    assert.equal(
      lines[4],
      '  last pages 1.1 · state 0.3 · landed 0.6 · run 1.2 · rest 0.2 ms; before it stop 0.2',
    );
    assert.equal(lines.length, 5);
  });

  it('shows an estimate that never grows', async () => {
    fake.on('POST /v1/migrations', () => aMigration());
    const updates = [900, 950, 400, 600].map((etaMs) =>
      aMigration({ progress: { ...PROGRESS, etaMs } }),
    );
    fake.watch([...updates, aMigration({ state: 'completed', result: aResult() })]);
    const said = await call(['guest', 'migrate', 'mem1', '--to', 'c', '--coordinator', fake.url], {
      tty: true,
    });
    const etas = [...said.out.matchAll(/about (\S+) s left/g)].map((match) => Number(match[1]));
    assert.ok(etas.length >= 4);
    assert.deepEqual(
      etas,
      etas.toSorted((x, y) => y - x),
    );
  });

  it('prints one object with --json', async () => {
    fake.on('POST /v1/migrations', () => aMigration());
    fake.watch([aMigration(), aMigration({ state: 'completed', result: aResult() })]);
    const said = await migrate('--json');
    assert.equal(JSON.parse(said.out).state, 'completed');
  });

  it('only prints the id with --detach', async () => {
    fake.on('POST /v1/migrations', () => aMigration());
    const said = await migrate('--detach');
    assert.equal(said.out, 'm-7q3f\n');
    assert.match(said.err, /godwit migration watch m-7q3f/);
  });

  it('stops watching at Ctrl-C, not the job', async () => {
    fake.on('POST /v1/migrations', () => aMigration());
    fake.on('GET /v1/migrations/m-7q3f', () => aMigration());
    const said = await call(['guest', 'migrate', 'mem1', '--to', 'c', '--coordinator', fake.url], {
      onOut: (_, signal) => signal(),
    });
    assert.equal(said.exit, EXIT.interrupted);
    assert.match(said.err, /the migration goes on. Again: godwit migration watch m-7q3f/);
    assert.ok(!fake.asked.some((request) => request.path.endsWith('/cancel')));
  });

  it('ends with the error of a migration that failed', async () => {
    fake.on('POST /v1/migrations', () => aMigration());
    const error = {
      code: 'channel.refused',
      message: 'page channel to x: refused',
      hint: 'open the ports',
    };
    fake.watch([aMigration({ state: 'failed', error })]);
    const said = await migrate();
    assert.equal(said.exit, EXIT.unreachable);
    assert.equal(
      said.err,
      'error: mem1 was not moved: page channel to x: refused\nhint: open the ports\n',
    );
  });

  it('shows why each step was taken', async () => {
    fake.on('GET /v1/migrations/m-7q3f', () =>
      aMigration({
        rounds: [ROUND],
        decisions: [
          { round: 0, action: 'stopAndCopy', reason: '0.5 MiB fits the 300 ms target', atMs: 0 },
        ],
        state: 'completed',
        result: aResult({ faults: 812, faultP50Us: 82, faultP99Us: 360, longestStallMs: 4.1 }),
        prediction: aPrediction({ totalMs: 440, downtimeMs: 3.1 }),
      }),
    );
    const said = await godwit('migration', 'show', 'm-7q3f');
    assert.match(said.out, /after round 0 +switch: 0\.5 MiB fits the 300 ms target/);
    assert.match(
      said.out,
      /prediction +total 0\.44 s \(was 0\.46 s, -4 %\) +downtime 3\.1 ms \(was 3\.4 ms, -9 %\)/,
    );
    assert.match(
      said.out,
      /post-copy +812 faults, p50 0\.1 ms, p99 0\.4 ms, longest stall 4\.1 ms/,
    );
    const steps = [
      ...said.out.matchAll(/^ {2}(?:last pages|state|landed|run|rest) +([\d.]+) ms/gm),
    ];
    assert.equal(steps.length, 5, said.out);
    const sum = steps.reduce((all, [, ms]) => all + Number(ms), 0);
    assert.equal(sum.toFixed(1), '3.4', 'the steps are the downtime, all of it');
  });
});

describe('help', () => {
  it('has examples at every level', async () => {
    for (const argv of [
      [],
      ['guest', 'create'],
      ['guest', 'migrate'],
      ['migration', 'show'],
      ['up'],
      ['machine', 'run'],
    ]) {
      const said = await call([...argv, '--help']);
      assert.equal(said.exit, EXIT.ok);
      assert.match(said.out, /\nExamples:\n {2}godwit /, argv.join(' '));
    }
  });

  it('tells the version also to those who ask as they do elsewhere', async () => {
    const said = await call(['version', '--json']);
    assert.equal(said.exit, EXIT.ok);
    for (const option of ['-V', '--version']) {
      assert.deepEqual(await call([option, '--json']), said);
    }
    assert.equal((await call(['guest', '--version'])).exit, EXIT.usage);
  });

  it('is what a noun alone gets, as a usage error', async () => {
    const said = await call(['guest']);
    assert.equal(said.exit, EXIT.usage);
    assert.match(said.err, /^Usage: godwit guest/);
  });
});

describe('a terminal', () => {
  it('is redrawn in place and coloured, unless NO_COLOR', async () => {
    fake.on('GET /v1/hosts/b', () => aHost('b', { state: 'unreachable' }));
    const argv = ['host', 'show', 'b', '--coordinator', fake.url];
    assert.ok((await call(argv, { tty: true })).out.includes('\x1b[31munreachable'));
    const plain = await call(argv, { tty: true, env: { NO_COLOR: '1' } });
    assert.ok(!plain.out.includes('\x1b'));
    assert.ok(!(await call(argv)).out.includes('\x1b'));
  });
});
