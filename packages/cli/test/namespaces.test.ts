/**
 * Separate machines whose ways to each other can be taken away: a move that cannot reach the other end
 * is refused before anything moves, and says which address it was.
 */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { type Machine, SeparateMachines, SKIP, until } from './separate-machines.ts';

interface BlockedWay {
  readonly what: string;
  readonly to: string;
  /** For `ip ... add` and `ip ... del` on that machine. */
  readonly block?: { readonly on: Machine; readonly how: readonly [string, ...string[]] };
  readonly code: string;
  readonly address: RegExp;
}

const BLOCKED_WAYS: readonly BlockedWay[] = [
  {
    what: 'no route from the source to the target',
    to: 'b',
    block: { on: 'a', how: ['route', 'blackhole', '10.231.77.3/32'] },
    code: 'peer.unreachable',
    address: /10\.231\.77\.3:7410/,
  },
  {
    what: 'a firewall that swallows what the target answers',
    to: 'b',
    block: {
      on: 'b',
      how: ['rule', 'to', '10.231.77.2', 'ipproto', 'tcp', 'sport', '7410', 'blackhole'],
    },
    code: 'peer.unreachable',
    address: /10\.231\.77\.3:7410/,
  },
  {
    what: 'page ports behind a firewall, the control port open',
    to: 'b',
    block: { on: 'a', how: ['rule', 'ipproto', 'tcp', 'sport', '7420-7429', 'blackhole'] },
    code: 'channel.refused',
    address: /10\.231\.77\.2:742[0-9]/,
  },
  {
    what: 'an advertised address that nobody has',
    to: 'c',
    code: 'peer.unreachable',
    address: /10\.231\.77\.9:7510/,
  },
  {
    what: 'an advertised port where nobody listens',
    to: 'd',
    code: 'peer.unreachable',
    address: /10\.231\.77\.3:7999/,
  },
];

describe('separate machines', { skip: SKIP }, () => {
  const machines = new SeparateMachines();

  before(async () => {
    await machines.start();
    const b = machines.addressOf('b');
    const ports = ['--page-ports', '7520-7529'];
    const wrongHost = ['--listen', `${b}:7510`, '--advertise', '10.231.77.9:7510', ...ports];
    const wrongPort = ['--listen', `${b}:7610`, '--advertise', `${b}:7999`, ...ports];
    await machines.agent('b', 'c', wrongHost);
    await machines.agent('b', 'd', wrongPort);
    const workload = ['--workload', 'hotset', '--hot', '4MiB', '--rate', '5MiB/s'];
    const guest = ['guest', 'create', 'w1', '--host', 'a', '--memory', '32MiB', ...workload];
    const { code, err } = await machines.godwit(...guest);
    assert.equal(code, 0, err);
  });
  after(() => machines.close());

  for (const { what, to, block, code, address } of BLOCKED_WAYS) {
    it(`${what}: refused before anything moves, with the address`, async () => {
      const { freeBytes } = await machines.host(to);
      const before = await machines.guest('w1');
      const [noun, ...rest] = block?.how ?? [''];
      if (block) await machines.ip(block.on, noun, 'add', ...rest);
      const said = await machines.godwit('guest', 'migrate', 'w1', '--to', to);
      if (block) await machines.ip(block.on, noun, 'del', ...rest);

      assert.equal(said.code, 5, said.err);
      assert.match(said.err, address);
      assert.match(said.err, /^hint: .*(--advertise|--page-ports)/m);
      const { id, state, error, rounds, result } = await machines.lastMove('w1');
      assert.deepEqual([state, error?.code, rounds, result], ['failed', code, [], undefined]);
      const shown = (await machines.godwit('migration', 'show', id)).out;
      assert.match(shown, new RegExp(`^failed .*${address.source}.*\\(${code}\\)$`, 'm'));
      assert.match(shown, /^ +hint: .*(--advertise|--page-ports)/m);
      const { host, epoch, state: guestState } = await machines.guest('w1');
      assert.deepEqual([guestState, host, epoch], ['running', 'a', before.epoch]);
      const isGivenBack = async () => (await machines.host(to)).freeBytes >= freeBytes;
      await until(isGivenBack, `host ${to} keeps memory for a guest that never came`);
    });
  }

  it('moves when the way is free, there and back', async () => {
    for (const to of ['b', 'a']) {
      const { code, err } = await machines.godwit('guest', 'migrate', 'w1', '--to', to, '--verify');
      assert.equal(code, 0, err);
      const { state, host } = await machines.guest('w1');
      assert.deepEqual([state, host], ['running', to]);
    }
  });

  it('another token is refused by name', async () => {
    const { code, err } = await machines.godwit('host', 'ls', '--token', 'not-the-token');
    assert.notEqual(code, 0);
    assert.match(err, /^error: .*token/);
  });
});
