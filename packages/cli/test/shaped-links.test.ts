/**
 * Moves over a line that is slower than the machines (tc tbf): what is measured lies under what the line
 * carries, a bandwidth that was asked for is kept, and a guest that writes faster than the line ends
 * all the same. A busy machine makes all of this slower, and no assertion here minds that.
 */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { Migration } from '@godwit/protocol';
import { SeparateMachines, SKIP } from './separate-machines.ts';

const LINK = { text: '200mbit', bytesPerS: 200e6 / 8 };
/** What stands in the bucket at the start, against what a whole guest is. */
const BURST = 1.05;
const MEMORY_BYTES = 32 * 2 ** 20;

describe('shaped links', { skip: SKIP }, () => {
  const machines = new SeparateMachines();

  before(async () => {
    await machines.start();
    for (const machine of ['a', 'b'] as const) await machines.shape(machine, LINK.text);
    const workload = ['--workload', 'uniform', '--content', 'random', '--rate', '1MiB/s'];
    const guest = ['guest', 'create', 'w1', '--host', 'a', '--memory', '32MiB', ...workload];
    const { code, err } = await machines.godwit(...guest);
    assert.equal(code, 0, err);
  });
  after(() => machines.close());

  async function move(to: string, ...options: string[]): Promise<Migration> {
    const { code, err } = await machines.godwit('guest', 'migrate', 'w1', '--to', to, ...options);
    assert.equal(code, 0, err);
    assert.equal((await machines.guest('w1')).host, to);
    return machines.lastMove('w1');
  }

  /** A line cannot carry more than it does: whole pages went over it, and not faster. */
  function assertUnder(bytesPerS: number, { rounds, result }: Migration): void {
    assert.ok(result !== undefined && result.bytes >= MEMORY_BYTES);
    const [first] = rounds;
    assert.ok(first !== undefined && first.bytes >= MEMORY_BYTES);
    const rateOf = (bytes: number, ms: number) => (bytes * 1000) / ms;
    const rates = [rateOf(first.bytes, first.durationMs), first.bandwidthBytesPerS];
    for (const rate of [...rates, result.gbps * 1e9]) {
      assert.ok(rate <= bytesPerS * BURST, `${rate} bytes/s over ${bytesPerS}`);
    }
  }

  it('a move takes what the line carries, and its measured rate is not more', async () => {
    assertUnder(LINK.bytesPerS, await move('b', '--mode', 'precopy', '--verify'));
  });

  it('--max-bandwidth is kept, below what the line carries', async () => {
    const options = ['--mode', 'precopy', '--max-bandwidth', '10MB/s', '--channels', '4'];
    assertUnder(10e6, await move('a', ...options));
  });

  it('hybrid ends although the guest writes faster than the line, by pulling pages', async () => {
    const { code, err } = await machines.godwit('guest', 'rate', 'w1', 'unlimited');
    assert.equal(code, 0, err);
    const { result, decisions } = await move('b', '--verify');
    assert.equal(decisions.at(-1)?.action, 'postcopy');
    assert.ok(result?.verified);
    assert.ok(result.faults > 0, 'the guest waited for no page');
    const { code: lost, out } = await machines.godwit('guest', 'audit', 'w1');
    assert.equal(lost, 0, out);
  });
});
