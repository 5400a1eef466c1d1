/**
 * What benchmarks say of their samples: figures that are derived, and goals that are reached or not.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { linuxMarkdown } from '../linux-text.ts';
import { machineMarkdown, machineTable } from '../machine-text.ts';
import { sizeCosts, sizesText } from '../scale-text.ts';

const size = (mib: number, moveMs: number) => {
  const pages = mib * 256;
  return { mib, pages, moves: 4, moveMs, usPerPage: (moveMs * 1000) / pages, cpuUsPerPage: 2 };
};

test('scale: a fixed cost and a cost a page are told apart', () => {
  const sizes = [64, 256, 1024].map((mib) => size(mib, 10 + mib * 0.256));
  const costs = sizeCosts(sizes)!;
  assert.deepEqual(
    costs.furtherUsPerPage.map((us) => us.toFixed(6)),
    ['1.000000', '1.000000'],
  );
  assert.equal(costs.fixedMs.toFixed(6), '10.000000');
  assert.ok(costs.spreadPercent < 1e-6);
  assert.match(sizesText(sizes), /^\| 256 \| 4 \| 1\.15 \| 2\.0 \| 76 \| 1\.00 \|$/m);
});

test('scale: the spread is the distance from the middle; one size tells nothing', () => {
  const sizes = [size(64, 0), size(128, 16.384 * 0.9), size(192, 16.384 * 2)];
  assert.equal(sizeCosts(sizes)!.spreadPercent.toFixed(3), '10.000');
  assert.equal(sizeCosts(sizes.slice(0, 1)), undefined);
  assert.doesNotMatch(sizesText(sizes.slice(0, 1)), /further page:/);
});

test('linux: each mode is held against the goal and against each of the peer', () => {
  const text = linuxMarkdown(
    {
      godwit: { precopy: [1, 2, 3], postcopy: [6, 6, 6] },
      qemu: { plain: [1], postcopy: [4] },
      steps: { precopy: [], postcopy: [] },
    },
    { pairs: 3, memory: '256MiB', qemuMemory: '512M' },
  );
  assert.match(text, /^\| godwit pre-copy \| 2\.00 \| 1\.50 to 2\.50 \| 1\.00 to 3\.00 \| 3 \|$/m);
  assert.match(text, /^\| at most 5 ms \| reached \| not reached \|$/m);
  assert.match(text, /^\| below QEMU plain \| not reached \| not reached \|$/m);
  assert.match(text, /^\| below QEMU post-copy \| reached \| not reached \|$/m);
});

test('machine: only what was measured is held against its bound', () => {
  const boot = { godwit: { mix: [120], bootMs: [9_000] }, qemu: { mix: [300], bootMs: [5_000] } };
  const text = machineMarkdown(boot, 5, 'linux');
  assert.match(text, /^\| mix, MIPS \| godwit \| 120\.0 \|/m);
  assert.match(text, /^\| mix: at least 100 MIPS \| 120 \| reached \|$/m);
  assert.match(text, /^\| boot: at most 8000 ms \| 9000 \| not reached \|$/m);
  const table = machineTable({ godwit: { mix: [99] }, qemu: { mix: [300] } });
  assert.match(table, /^mix: at least 100 MIPS: 99, not reached$/m);
  assert.doesNotMatch(table, /boot/);
});
