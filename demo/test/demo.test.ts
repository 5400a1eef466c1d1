/**
 * The demo as a user starts it, on its small scale: its last line, and what it leaves behind (nothing),
 * at the end and when it is interrupted at any stage.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { MoveRecord } from '../report.ts';

const MAIN = fileURLToPath(new URL('../main.ts', import.meta.url));
/** For node:test's `skip`. */
const NO_LINUX =
  !process.env.GODWIT_GUEST_IMAGE && 'needs GODWIT_GUEST_IMAGE=DIR with Image and initrd.cpio.gz';

interface Run {
  readonly exit: number;
  readonly out: string;
  readonly err: string;
  readonly processes: readonly number[];
  readonly files: readonly string[];
}

/** Runs it with a temporary directory of its own, so that everything it makes can be found. */
async function demo(
  argv: readonly string[],
  { interruptAt, env }: { interruptAt?: RegExp; env?: NodeJS.ProcessEnv } = {},
): Promise<Run> {
  const dir = mkdtempSync(join(tmpdir(), 'godwit-demo-test-'));
  try {
    const child = spawn(process.execPath, [MAIN, ...argv], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, TMPDIR: dir, ...env },
    });
    let [out, err] = ['', ''];
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      out += text;
      if (interruptAt?.test(out)) child.kill('SIGINT');
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      err += text;
    });
    const [exit] = (await once(child, 'close')) as [number];
    return { exit, out, err, processes: processesIn(dir), files: readdirSync(dir) };
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

function processesIn(dir: string): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(dir);
      } catch {
        return false; // It ended while we looked.
      }
    })
    .map(Number);
}

describe('demo', () => {
  it('moves both guests in all modes, loses nothing, and leaves nothing', async () => {
    const run = await demo(['--quick', '--json']);
    assert.equal(run.exit, 0, run.err);
    const { ok, migrations } = JSON.parse(run.out.trimEnd().split('\n').at(-1)!) as {
      ok: boolean;
      migrations: MoveRecord[];
    };
    assert.equal(ok, true);
    const modes = ['precopy', 'postcopy', 'hybrid'].flatMap((mode) =>
      ['machine', 'workload'].flatMap((kind) => [`${kind} ${mode}`, `${kind} ${mode}`]),
    );
    assert.deepEqual(
      migrations.map(({ kind, mode }) => `${kind} ${mode}`),
      modes,
    );
    for (const move of migrations) {
      assert.equal(move.verified, true);
      assert.ok(move.downtimeMs > 0 && move.totalMs >= move.downtimeMs);
      assert.ok(move.outsideGapMs > 0);
    }
    const races = migrations.filter(({ mode }, i) => mode === 'hybrid' && i % 2 === 1);
    assert.deepEqual(
      races.map(({ faults }) => faults > 0),
      [true, true],
    );
    assert.match(run.err, /auditor {2}mem: no write lost/);
    assert.match(run.err, /client {3}kv: .* all as promised/);
    assert.deepEqual([run.processes, run.files], [[], []]);
  });

  const stages: [what: string, at: RegExp][] = [
    ['while it starts', /starting/],
    ['while it creates its guests', /creating/],
    ['in the middle of a move', /1\/12 /],
  ];
  for (const [what, at] of stages) {
    it(`leaves nothing when interrupted ${what}`, async () => {
      const run = await demo(['--quick'], { interruptAt: at });
      assert.equal(run.exit, 130, run.err);
      assert.match(run.err, /error: interrupted/);
      assert.deepEqual([run.processes, run.files], [[], []]);
    });
  }

  it('moves a Linux in use as well, and leaves nothing', { skip: NO_LINUX }, async () => {
    const run = await demo(['--quick', '--linux', '--json']);
    assert.equal(run.exit, 0, run.err);
    const { ok, linux, migrations } = JSON.parse(run.out.trimEnd().split('\n').at(-1)!) as {
      ok: boolean;
      linux: { bootMs: number; memoryMiB: number };
      migrations: MoveRecord[];
    };
    assert.equal(ok, true);
    assert.equal(linux.memoryMiB, 256);
    assert.ok(linux.bootMs > 0);
    const moves = migrations.filter(({ kind }) => kind === 'linux');
    const modes = ['precopy', 'precopy', 'postcopy', 'postcopy', 'hybrid', 'hybrid'];
    assert.deepEqual(
      moves.map(({ guest, mode, verified }) => [guest, mode, verified]),
      modes.map((mode) => ['linux', mode, true]),
    );
    for (const { outsideGapMs } of moves) assert.ok(outsideGapMs > 0);
    assert.match(run.err, /linux {4}up in .* none lost or twice; no complaint in dmesg/);
    assert.match(run.err, /sleeper {2}by its own clock/);
    assert.deepEqual([run.processes, run.files], [[], []]);
  });

  it('leaves nothing when interrupted while Linux boots', { skip: NO_LINUX }, async () => {
    const run = await demo(['--quick', '--linux'], { interruptAt: /booting Linux/ });
    assert.equal(run.exit, 130, run.err);
    assert.match(run.err, /error: interrupted/);
    assert.deepEqual([run.processes, run.files], [[], []]);
  });

  it('says what is missing, before anything starts, when there is no Linux to move', async () => {
    const env = { GODWIT_GUEST_IMAGE: '', GODWIT_IMAGE_DIR: '/nowhere' };
    const run = await demo(['--linux', '--json'], { env });
    assert.equal(run.exit, 2);
    assert.match(run.err, /^error: no image of Linux is here\nhint: .*image pull debian-13.*\n$/);
    assert.deepEqual(JSON.parse(run.out), { ok: false, migrations: [] });
    assert.deepEqual(run.files, []);
  });

  it('refuses an option that it does not know', async () => {
    const run = await demo(['--fast']);
    assert.equal(run.exit, 2);
    assert.match(run.err, /^error: .*--fast.*\nhint: /);
    assert.deepEqual(run.files, []);
  });
});
