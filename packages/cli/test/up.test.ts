/**
 * `godwit up` from start to end: what it prints, what it leaves behind (nothing), and how it fails.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { guestImagePath } from '@godwit/machine';
import { call } from './call.ts';
import { Up } from './up.ts';

describe('up', () => {
  it('ends everything at SIGINT, guests included', async () => {
    const up = await Up.start(['--json', '--agents', '1', '--memory', '256MiB']);
    try {
      const env = { GODWIT_COORDINATOR: up.ready.url };
      const said = await call(['guest', 'create', 'g', '--image', 'hello', '--memory', '16MiB'], {
        env,
      });
      assert.equal(said.exit, 0, said.err);
      const found = up.processes();
      const host = up.ready.hosts[0]!;
      for (const pid of [up.process.pid!, up.ready.pid, host.pid, host.daemonPid]) {
        assert.ok(found.includes(pid), `process ${pid} is part of it`);
      }
      assert.equal(await up.stop(), 0, up.stderr);
      assert.deepEqual(up.processes(), []);
      assert.equal((await call(['status'], { env })).exit, 5);
    } finally {
      up.process.kill('SIGKILL');
      up.remove();
    }
  });

  it('ends everything when its coordinator dies, and says so', async () => {
    const up = await Up.start(['--json', '--agents', '1', '--memory', '256MiB']);
    try {
      process.kill(up.ready.pid, 'SIGKILL');
      assert.equal(await up.exit(), 1);
      assert.match(up.stderr, /"message":"coordinator ended/);
      assert.deepEqual(up.processes(), []);
    } finally {
      up.process.kill('SIGKILL');
      up.remove();
    }
  });

  it('ends a daemon whose supervisor was killed', async () => {
    const up = await Up.start(['--json', '--agents', '1', '--memory', '256MiB']);
    try {
      process.kill(up.ready.hosts[0]!.pid, 'SIGKILL');
      assert.equal(await up.exit(), 1);
      assert.match(up.stderr, /"message":"agent a ended/);
      assert.deepEqual(up.processes(), []);
    } finally {
      up.process.kill('SIGKILL');
      up.remove();
    }
  });

  it('asks every command for the token', async () => {
    const up = await Up.start([
      '--json',
      '--agents',
      '1',
      '--memory',
      '256MiB',
      '--token',
      'a-long-secret',
    ]);
    try {
      const env = { GODWIT_COORDINATOR: up.ready.url };
      const said = await call(['host', 'ls'], { env });
      assert.equal(said.exit, 4);
      assert.match(said.err, /^error: cluster token refused: .+\nhint: give the same --token/);
      const known = await call(['host', 'ls', '--token', 'a-long-secret'], { env });
      assert.equal(known.exit, 0, known.err);
      for (const pid of up.processes().filter((pid) => pid !== up.process.pid)) {
        const shown = readFileSync(`/proc/${pid}/cmdline`, 'utf8');
        assert.ok(!shown.includes('a-long-secret'), 'no child shows the token among its arguments');
      }
      await up.stop();
    } finally {
      up.process.kill('SIGKILL');
      up.remove();
    }
  });

  it('names the port that is in use, and leaves nothing', async () => {
    const holder = createServer().listen(0, '127.0.0.1');
    await once(holder, 'listening');
    const { port } = holder.address() as { port: number };
    const fresh = join(tmpdir(), `godwit-fresh-${process.pid}`);
    const up = await Up.start(['--port', String(port), '--state-dir', fresh]);
    try {
      assert.equal(await up.exit(), 4);
      assert.equal(
        up.stderr,
        `error: coordinator did not start: 127.0.0.1:${port} is in use\n` +
          'hint: choose another port, or end the process that holds it\n',
      );
      assert.deepEqual(up.processes(), []);
      assert.ok(!existsSync(fresh), 'what it made for its state is gone again');
    } finally {
      holder.close();
      up.remove();
    }
  });
});

describe('daemons', () => {
  it('listen beyond loopback only with a token', async () => {
    const said = await daemon(['coordinator', '--state-dir', '/nowhere', '--listen', '0.0.0.0:0']);
    assert.equal(said.exit, 2);
    assert.match(
      said.err,
      /^error: 0\.0\.0\.0.* is not a loopback address and no cluster token is given\nhint: /,
    );
    assert.ok(!existsSync('/nowhere'));
  });

  it('check their options before they start', async () => {
    const cases: [argv: string[], err: RegExp][] = [
      [['agent', '--state-dir', 'x'], /required option '--name <host>' not specified/],
      [['agent', '--name', 'A', '--state-dir', 'x'], /'A': expected lower-case letters/],
      [
        ['agent', '--name', 'a', '--state-dir', 'x', '--page-ports', '9-1'],
        /'9-1': expected a range/,
      ],
      [['coordinator', '--state-dir', 'x', '--listen', '7400'], /'7400': expected host:port/],
    ];
    for (const [argv, err] of cases) {
      const said = await call(argv);
      assert.equal(said.exit, 2);
      assert.match(said.err, err);
    }
  });

  it('take from the environment what the notes on the units set there', async () => {
    const agent = ['agent', '--name', 'a', '--state-dir', 'x'];
    for (const [variable, wrong] of [
      ['GODWIT_ADVERTISE', 'nowhere'],
      ['GODWIT_PAGE_PORTS', '9-1'],
    ] as const) {
      const said = await call(agent, { env: { [variable]: wrong } });
      assert.equal(said.exit, 2);
      assert.match(said.err, new RegExp(`${variable} is '${wrong}': expected`));
    }
  });
});

describe('machine run', () => {
  const churn = guestImagePath('churn');

  it('gives up at the bound with 124, in JSON too', async () => {
    const said = await call(['machine', 'run', churn, '--max-instructions', '100_000', '--json']);
    assert.equal(said.exit, 124);
    const result = JSON.parse(said.out);
    assert.deepEqual([result.exit, result.instructions, 'digest' in result], [124, 100_000, false]);
    assert.match(said.err, /^churn ready/);
  });

  it('stops at an instruction and always finds the same machine there', async () => {
    const run = () => call(['machine', 'run', churn, '--stop-at', '300000', '--digest', '--json']);
    const [first, second] = [await run(), await run()];
    assert.equal(first.exit, 0);
    const { digest, instructions } = JSON.parse(first.out);
    assert.match(digest, /^[0-9a-f]{64}$/);
    assert.equal(instructions, 300_000);
    assert.equal(JSON.parse(second.out).digest, digest);
  });

  it('writes a checkpoint and goes on; another process goes on from it to the same end', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'godwit-machine-'));
    const file = join(directory, 'at.godwit');
    const end = ['--stop-at', '300000', '--digest', '--json'];
    try {
      const at = ['--checkpoint-at', '200000', '--checkpoint', file];
      const first = await call(['machine', 'run', churn, ...at, ...end]);
      const second = await call(['machine', 'run', '--restore', file, ...end]);
      assert.equal(JSON.parse(second.out).digest, JSON.parse(first.out).digest);
      assert.equal(first.err + second.err, first.err);
      const late = await call(['machine', 'run', churn, ...at, '--max-instructions', '1000']);
      assert.match(late.err, /error: no checkpoint: .*200000\nhint: /);
      for (const contradiction of [[], [churn, '--restore', file], [churn, '--checkpoint', file]]) {
        assert.equal((await call(['machine', 'run', ...contradiction])).exit, 2);
      }
      writeFileSync(file, 'no checkpoint');
      const damaged = await call(['machine', 'run', '--restore', file]);
      assert.match(damaged.err, /^error: checkpoint .* is of no use: .*\nhint: /);
    } finally {
      rmSync(directory, { recursive: true });
    }
  });

  it('names the port a debugger may come to, and refuses one it cannot have', async () => {
    const run = ['machine', 'run', churn, '--max-instructions', '1000', '--gdb'];
    const said = await call([...run, '0']);
    assert.match(said.err, /^gdb: target remote 127\.0\.0\.1:\d+\n/);
    assert.equal(said.exit, 124);
    const taken = createServer().listen(0, '127.0.0.1');
    await once(taken, 'listening');
    const { port } = taken.address() as AddressInfo;
    const refused = await call([...run, `${port}`]);
    taken.close();
    assert.deepEqual([refused.exit, /: it is in use\nhint: /.test(refused.err)], [2, true]);
    assert.equal((await call(['machine', 'run', churn, '--gdb-wait'])).exit, 2);
  });

  it('refuses what is not a program, with the reason and a hint', async () => {
    const said = await call(['machine', 'run', process.execPath]);
    assert.equal(said.exit, 2);
    assert.match(
      said.err,
      /^error: .*(: \d+ bytes, a program has at most|not a RISC-V 64 program).*\nhint: .+\n$/,
    );
    assert.equal((await call(['machine', 'run', '/nowhere'])).exit, 3);
  });
});

/** Daemons write to the process's own stderr, so this one is run as a process. */
async function daemon(argv: readonly string[]) {
  const { spawn } = await import('node:child_process');
  const { fileURLToPath } = await import('node:url');
  const bin = fileURLToPath(new URL('../bin/godwit.js', import.meta.url));
  const child = spawn(process.execPath, [bin, ...argv], { stdio: ['ignore', 'ignore', 'pipe'] });
  let err = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    err += text;
  });
  const [exit] = await once(child, 'close');
  return { exit: exit as number, err };
}
