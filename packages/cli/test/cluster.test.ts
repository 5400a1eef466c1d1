/**
 * The command line against a real cluster: a coordinator and two agents as processes, started by
 * `godwit up`. What a person does first, and each kind of bad input with its line, hint and exit code.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { guestImagePath } from '@godwit/machine';
import { ApiClient } from '../src/api-client.ts';
import { ConsoleClient } from '../src/console-client.ts';
import { call } from './call.ts';
import { Up } from './up.ts';

let up: Up;
let files: string;
before(async () => {
  files = mkdtempSync(join(tmpdir(), 'godwit-files-'));
  up = await Up.start(['--json', '--agents', '2', '--memory', '512MiB']);
  assert.ok(up.ready, up.stderr);
});
after(async () => {
  await up.stop();
  up.remove();
  rmSync(files, { recursive: true });
});

const godwit = (argv: readonly string[], stdin = '') =>
  call(argv, { stdin, env: { GODWIT_COORDINATOR: up.ready.url } });

async function ok(...argv: string[]): Promise<string> {
  const said = await godwit(argv);
  assert.equal(said.exit, 0, said.err);
  return said.out;
}

describe('a cluster', () => {
  it('lists its hosts', async () => {
    const hosts = JSON.parse(await ok('host', 'ls', '--json'));
    assert.deepEqual(
      hosts.map((host: { name: string; state: string }) => `${host.name} ${host.state}`),
      ['a connected', 'b connected'],
    );
  });

  it('creates a guest, talks to it, moves it in each mode while it is used, removes it', async () => {
    await ok('guest', 'create', 'kv1', '--image', 'kv', '--memory', '32MiB', '--host', 'a');
    const said = await call(['guest', 'console', 'kv1', '--silence', '1m'], {
      stdin: 'set a 1\nget a\n',
      env: { GODWIT_COORDINATOR: up.ready.url },
      onOut: (soFar, signal) => {
        if (soFar.includes('value')) signal();
      },
    });
    assert.match(said.out, /ok 1\nvalue 1\n$/);

    const client = new ConsoleClient({ api: new ApiClient({ url: up.ready.url }), guest: 'kv1' });
    let text = '';
    client.on('output', (bytes) => {
      text += Buffer.from(bytes).toString();
    });
    await client.open();
    let sent = 1;
    let isOver = false;
    const writer = (async () => {
      while (!isOver) {
        client.write(Buffer.from(`set key${sent % 50} ${sent}\n`));
        sent++;
        await client.taken();
      }
    })();
    const hops = [
      ['precopy', 'b'],
      ['postcopy', 'a'],
      ['hybrid', 'b'],
    ] as const;
    for (const [mode, to] of hops) {
      const out = await ok('guest', 'migrate', 'kv1', '--to', to, '--mode', mode, '--verify');
      assert.match(out, /^done in .* verified$/m);
    }
    isOver = true;
    await writer;
    // Every write was answered once, in order, whichever host it reached.
    client.write(Buffer.from('check\n'));
    while (!/^(good|BAD) .*$/m.test(text))
      await new Promise((resolve) => client.once('output', resolve));
    await client.close();
    const answers = [...text.matchAll(/^ok (\d+)$/gm)].map((match) => Number(match[1]));
    const expected = Array.from({ length: sent - 1 }, (_, i) => i + 2);
    assert.deepEqual(answers.slice(answers.indexOf(2)), expected);
    assert.match(text, /^good 2048$/m);

    assert.match(await ok('migration', 'ls', '--guest', 'kv1'), /(.*completed.*\n){3}/);
    const show = await ok('guest', 'show', 'kv1');
    assert.match(show, /^kv1 {2}running on b\n/);
    await ok('guest', 'stop', 'kv1');
    await ok('guest', 'rm', 'kv1');
    assert.deepEqual(JSON.parse(await ok('guest', 'ls', '--json')), []);
  });

  it('audits a workload after a move at another rate', async () => {
    await ok(
      'guest',
      'create',
      'mem1',
      '--workload',
      'hotset',
      '--memory',
      '64MiB',
      '--hot',
      '16MiB',
      '--host',
      'a',
    );
    await ok('guest', 'rate', 'mem1', '100MiB/s');
    await ok('guest', 'migrate', 'mem1', '--to', 'b');
    assert.match(await ok('guest', 'audit', 'mem1'), /^mem1: no write lost \(16,384 pages, /);
    await ok('guest', 'stop', 'mem1');
    await ok('guest', 'rm', 'mem1');
  });
});

describe('bad input changes nothing', () => {
  const kv = readFileSync(guestImagePath('kv'));
  const paths: Record<string, string> = {};
  before(async () => {
    const save = (name: string, bytes: Uint8Array) => {
      paths[name] = join(files, `${name}.elf`);
      writeFileSync(paths[name], bytes);
    };
    save('truncated', kv.subarray(0, 200));
    const wrongClass = Buffer.from(kv);
    wrongClass[4] = 1;
    save('class', wrongClass);
    save('outside', outsideRam(kv));
    await ok('guest', 'create', 'web1', '--image', 'hello', '--memory', '16MiB', '--host', 'a');
  });
  after(async () => {
    await ok('guest', 'stop', 'web1');
    await ok('guest', 'rm', 'web1');
  });

  const create = (...more: string[]) => ['guest', 'create', 'x', ...more];
  const cases: [what: string, argv: () => string[], exit: number, error: RegExp][] = [
    [
      'unknown guest',
      () => ['guest', 'show', 'nope'],
      3,
      /guest nope: no such guest \(there are web1\)\nhint: godwit guest ls/,
    ],
    [
      'unknown guest to move',
      () => ['guest', 'migrate', 'nope', '--to', 'b'],
      3,
      /guest nope: no such guest/,
    ],
    ['unknown guest to use', () => ['guest', 'console', 'nope'], 3, /guest nope: no such guest/],
    [
      'unknown host',
      () => ['guest', 'migrate', 'web1', '--to', 'z'],
      3,
      /host z: no such host \(there are a, b\)\nhint: godwit host ls/,
    ],
    [
      'unknown host to create on',
      () => create('--image', 'kv', '--host', 'z'),
      3,
      /host z: no such host/,
    ],
    [
      'same host',
      () => ['guest', 'migrate', 'web1', '--to', 'a'],
      4,
      /guest web1 is on host a already\nhint: choose another host/,
    ],
    [
      'no room',
      () => create('--image', 'kv', '--memory', '1GiB'),
      4,
      /has \d+ MiB free for guests, 1024 MiB are needed\nhint: choose another/,
    ],
    [
      'a name twice',
      () => ['guest', 'create', 'web1', '--image', 'kv'],
      4,
      /guest web1 exists on host a\nhint: choose another name/,
    ],
    [
      'a name that is none',
      () => ['guest', 'create', 'Web_1', '--image', 'kv'],
      2,
      /lower-case letters, digits and dashes.*\nhint: godwit guest create --help/,
    ],
    [
      'truncated ELF',
      () => create('--elf', paths.truncated!),
      2,
      /cut short: segment 0 needs \d+ bytes, has 200\nhint: godwit guest create --help/,
    ],
    [
      'wrong ELF class',
      () => create('--elf', paths.class!),
      2,
      /not a RISC-V 64 program: it is a 32-bit file\nhint: /,
    ],
    [
      'ELF outside RAM',
      () => create('--elf', paths.outside!),
      2,
      /lies outside the guest's \d+ bytes of RAM\nhint: /,
    ],
    [
      'memory that is no pages',
      () => create('--image', 'kv', '--memory', '5000'),
      2,
      /memory must be a multiple of 4096/,
    ],
    [
      'to remove what runs',
      () => ['guest', 'rm', 'web1'],
      4,
      /guest web1 runs on host a\nhint: godwit guest stop it first/,
    ],
    [
      'to fence what lives',
      () => ['host', 'fence', 'a', '--confirm'],
      4,
      /host a: its agent is connected.*\nhint: /,
    ],
    [
      'unknown migration',
      () => ['migration', 'cancel', 'm-none'],
      3,
      /migration m-none: no such migration\nhint: godwit migration ls/,
    ],
    [
      'the rate of a machine',
      () => ['guest', 'rate', 'web1', '1MiB/s'],
      2,
      /guest web1 is no workload\nhint: godwit guest rate --help/,
    ],
    [
      'the console of nobody',
      () => ['guest', 'discard', 'web1', '--host', 'b'],
      2,
      /host b holds nothing of guest web1\nhint: /,
    ],
  ];
  for (const [what, argv, exit, error] of cases) {
    it(what, async () => {
      const state = async () => {
        const guests = JSON.parse(await ok('guest', 'ls', '--json')) as {
          name: string;
          host: string;
          epoch: number;
        }[];
        return guests.map(({ name, host, epoch }) => ({ name, host, epoch }));
      };
      const earlier = await state();
      const said = await godwit(argv());
      assert.equal(said.exit, exit, said.err);
      assert.equal(said.out, '');
      assert.match(said.err, /^error: .+\nhint: .+\n$/);
      assert.match(said.err, error);
      assert.deepEqual(await state(), earlier);
    });
  }
});

/** The program with every segment moved to an address where there is no memory. */
function outsideRam(elf: Uint8Array): Buffer {
  const bytes = Buffer.from(elf);
  const headers = Number(bytes.readBigUInt64LE(32));
  for (let i = 0; i < bytes.readUInt16LE(56); i++) {
    const header = headers + 56 * i;
    if (bytes.readUInt32LE(header) === 1) bytes.writeBigUInt64LE(0x1000n, header + 24);
  }
  return bytes;
}
