/**
 * A machine in a file: what goes on from it is the same machine, and a file that is not whole, or was
 * made by somebody else, is refused.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import fc from 'fast-check';
import {
  GuestMemory,
  guestImagePath,
  MachineError,
  readCheckpoint,
  runMachine,
  writeCheckpoint,
} from '../src/mod.ts';

const MIB = 1048576;
const PAGE = 4096;
const CHURN_BYTES = 12 * MIB;
const END = 400_000n;
/** Random points of the run that are tried. */
const POINTS = 6;
const directory = mkdtempSync(join(tmpdir(), 'godwit-checkpoint-'));
const file = (name: string) => join(directory, name);
after(() => rmSync(directory, { recursive: true }));

const code = (expected: MachineError['code']) => (error: unknown) =>
  error instanceof MachineError && error.code === expected;

describe('a machine', () => {
  const elf = readFileSync(guestImagePath('churn'));

  function collect() {
    let text = '';
    const onOutput = (bytes: Uint8Array) => {
      text += Buffer.from(bytes).toString('latin1');
    };
    return { onOutput, text: () => text };
  }

  it('goes on from any instruction as if nothing had happened, console bytes included', () => {
    const whole = collect();
    const common = { stopAt: END, digest: true };
    const reference = runMachine({
      elf,
      memoryBytes: CHURN_BYTES,
      ...common,
      onOutput: whole.onOutput,
    });
    fc.assert(
      fc.property(fc.bigInt(1n, END - 1n), (at) => {
        const before = collect();
        const rest = collect();
        const checkpoint = { path: file('at'), at };
        runMachine({
          elf,
          memoryBytes: CHURN_BYTES,
          checkpoint,
          stopAt: at,
          onOutput: before.onOutput,
        });
        const restored = runMachine({ restore: file('at'), ...common, onOutput: rest.onOutput });
        assert.equal(restored.digest, reference.digest);
        assert.equal(before.text() + rest.text(), whole.text());
      }),
      { numRuns: POINTS },
    );
    assert.match(whole.text(), /^churn ready\n/);
  });

  it('writes a checkpoint without being another machine for it', () => {
    const common = { elf, memoryBytes: CHURN_BYTES, stopAt: END, digest: true };
    const { digest, checkpoint } = runMachine({
      ...common,
      checkpoint: { path: file('midway'), at: 100_000n },
    });
    assert.equal(digest, runMachine(common).digest);
    assert.equal(checkpoint!.fileBytes, statSync(file('midway')).size);
    assert.equal(checkpoint!.digest, readFileSync(file('midway')).subarray(-32).toString('hex'));
  });

  it('tells when it ended before the checkpoint', () => {
    const path = file('never');
    const result = runMachine({
      elf,
      memoryBytes: CHURN_BYTES,
      maxInstructions: 1000,
      checkpoint: { path, at: 2000 },
    });
    assert.equal(result.checkpoint, undefined);
    assert.ok(!readdirSync(directory).includes('never'));
  });
});

describe('a file', () => {
  const state = new Uint8Array([1, 2, 3]);
  const guest = GuestMemory.create({ ramBytes: 8 * MIB, harts: 2 });
  for (const page of [0, 5, 6, 7, 1500, 2047])
    guest.ram().fill(page & 0xff || 9, page * PAGE, (page + 1) * PAGE);
  guest.ram().fill(1, 100 * PAGE, 1400 * PAGE); // Longer than one run.

  const fresh = () => {
    const target = GuestMemory.create({ ramBytes: 8 * MIB, harts: 2 });
    target.ram().fill(0xa5);
    return target;
  };

  it('holds every page, and only those that are not zero', () => {
    const written = writeCheckpoint(file('whole'), guest, { state, about: '{"x":1}' });
    assert.equal(written.pages, 1306);
    assert.ok(written.fileBytes < 1307 * PAGE);
    const target = fresh();
    const head = readCheckpoint(file('whole'), target);
    assert.deepEqual([head.about, [...head.state]], ['{"x":1}', [1, 2, 3]]);
    assert.ok(Buffer.from(target.ram()).equals(Buffer.from(guest.ram())));
  });

  it('cut off anywhere, or with any byte changed, is refused', () => {
    writeCheckpoint(file('good'), guest, { state, about: '' });
    const good = readFileSync(file('good'));
    const target = fresh();
    fc.assert(
      fc.property(fc.nat(good.length - 1), fc.boolean(), (at, cut) => {
        const bad = cut ? good.subarray(0, at) : Buffer.from(good);
        if (!cut) bad[at]! ^= 1 << (at % 8);
        writeFileSync(file('bad'), bad);
        assert.throws(() => readCheckpoint(file('bad'), target), MachineError);
      }),
      {
        numRuns: 40,
        examples: [
          [0, true],
          [4, false],
          [11, true],
          [good.length - 1, true],
        ],
      },
    );
    writeFileSync(file('bad'), Buffer.concat([good, Buffer.alloc(1)]));
    assert.throws(() => readCheckpoint(file('bad'), target), code('checkpoint.damaged'));
  });

  it('of another size of guest, or that is not there, is refused', () => {
    writeCheckpoint(file('sized'), guest, { state, about: '' });
    const small = GuestMemory.create({ ramBytes: 4 * MIB, harts: 2 });
    assert.throws(() => readCheckpoint(file('sized'), small), code('checkpoint.damaged'));
    assert.throws(() => readCheckpoint(file('nothing'), small), code('checkpoint.not_read'));
    assert.throws(() => readCheckpoint(directory, small), code('checkpoint.not_read'));
  });

  it('that cannot be written leaves nothing, and the one before it', () => {
    mkdirSync(file('sub'));
    writeFileSync(file('sub/keep'), 'old');
    // The name is a directory: everything succeeds but the rename.
    mkdirSync(file('sub/taken/inside'), { recursive: true });
    const write = (path: string) => writeCheckpoint(path, guest, { state, about: '' });
    assert.throws(() => write(file('sub/taken')), code('checkpoint.not_written'));
    assert.throws(() => write(file('nowhere/x')), code('checkpoint.not_written'));
    assert.deepEqual(readdirSync(file('sub')).toSorted(), ['keep', 'taken']);
  });

  it('that the disk has no room for leaves nothing half', () => {
    // A limit on the size of files stands in for a full disk: the write itself fails midway.
    const churn = guestImagePath('churn');
    const target = file('full');
    const cli = join(import.meta.dirname, '../../cli/bin/godwit.js');
    const run = `ulimit -f 64; exec "$0" "$1" machine run "$2" --checkpoint-at 100000 --checkpoint "$3"`;
    const said = spawnSync('sh', ['-c', run, process.execPath, cli, churn, target], {
      encoding: 'utf8',
    });
    assert.equal(said.status, 2, said.stderr);
    assert.match(said.stderr, /error: .*full was not written: (EFBIG|the disk is full)\nhint: /);
    assert.ok(!readdirSync(directory).some((name) => name.startsWith('full')));
  });
});
