/** Huge pages are asked for before anybody touches a guest's memory; that the kernel took it stands in smaps. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { GuestMemory } from '@godwit/machine';
import { adviseHugePages, whySmallPages } from '../src/guest/huge-pages.ts';
import { MemoryPool } from '../src/guest/memory-pool.ts';

const MIB = 1024 ** 2;
const SETTING = '/sys/kernel/mm/transparent_hugepage/enabled';
/** A size no other mapping of this process has. */
const RAM_BYTES = 37 * MIB;

interface Mapping {
  readonly bytes: number;
  readonly isAdvised: boolean;
}

/** proc_pid_smaps(5): `hg` among the flags means that MADV_HUGEPAGE was given. */
function mappings(): Mapping[] {
  const blocks = readFileSync('/proc/self/smaps', 'latin1').split(/\n(?=[0-9a-f]+-[0-9a-f]+ )/);
  return blocks.map((block) => ({
    bytes: Number(/^Size: +(\d+) kB/m.exec(block)![1]) * 1024,
    isAdvised: /^VmFlags:.* hg\b/m.test(block),
  }));
}

const advised = () => mappings().filter(({ bytes, isAdvised }) => isAdvised && bytes >= RAM_BYTES);

describe('huge pages', { skip: !existsSync(SETTING) && 'needs transparent huge pages' }, () => {
  it("are asked for by the pool, for all of a new memory's RAM and nothing else", async () => {
    assert.deepEqual(advised(), []);
    const pool = new MemoryPool('a', 64 * MIB);
    const { memory } = pool.take('g', { ramBytes: RAM_BYTES, harts: 1 });
    assert.deepEqual(advised(), [{ bytes: memory.ramBytes, isAdvised: true }]);
    pool.give('g', memory);
    await pool.close();
  });

  it('are advice: the memory is as it was', () => {
    const guest = GuestMemory.create({ ramBytes: MIB, harts: 1 });
    guest.page(7).fill(0x5a);
    const before = Buffer.from(guest.ram());
    assert.equal(adviseHugePages(guest.ram()), true);
    assert.ok(before.equals(Buffer.from(guest.ram())));
  });

  it('are missed with a reason', () => {
    const isNever = readFileSync(SETTING, 'latin1').includes('[never]');
    assert.equal(whySmallPages() !== undefined, isNever);
  });
});
