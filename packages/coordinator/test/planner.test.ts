/** The planner: who goes where, and what keeps the others. Scenario tables, then properties. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { GodwitError } from '@godwit/protocol';
import fc from 'fast-check';
import { place } from '../src/placement/place.ts';
import {
  type HostConstraint,
  type PlanGuest,
  type PlanHost,
  plan,
} from '../src/placement/planner.ts';

const MIB = 1024 ** 2;

function host(name: string, roomMiB: number, refuses?: HostConstraint): PlanHost {
  return { name, roomBytes: roomMiB * MIB, ...(refuses && { refuses }) };
}

function guest(name: string, sizeMiB: number, at = 'a'): PlanGuest {
  return { name, memoryBytes: sizeMiB * MIB, host: at };
}

function targets(hosts: readonly PlanHost[], guests: readonly PlanGuest[]): Record<string, string> {
  const { placements } = plan(hosts, guests);
  return Object.fromEntries(placements.map((each) => [each.guest, each.target]));
}

describe('planner', () => {
  it('spreads: each guest goes where the most room is left, largest first', () => {
    const hosts = [host('a', 0, 'cordoned'), host('b', 300), host('c', 400)];
    const guests = [guest('small', 64), guest('large', 256), guest('middle', 128)];
    assert.deepEqual(targets(hosts, guests), { large: 'c', middle: 'b', small: 'b' });
  });

  it('packs when spreading would leave somebody without a place', () => {
    // Most room first puts 100 on c, and then 150 fits nowhere.
    const hosts = [host('b', 110), host('c', 150)];
    const guests = [guest('x', 100), guest('y', 150)];
    assert.deepEqual(targets(hosts, guests), { y: 'c', x: 'b' });
    const tight = [host('b', 40), host('c', 70), host('d', 100)];
    const many = [guest('p', 40), guest('q', 40), guest('r', 60), guest('s', 60)];
    assert.equal(plan(tight, many).placements.length, 4);
  });

  it('names the constraint with its numbers', () => {
    const hosts = [host('a', 900), host('b', 32), host('c', 0, 'cordoned'), host('d', 0, 'dead')];
    const [blocked] = plan(hosts, [guest('g', 64)]).blocked;
    assert.equal(blocked?.code, 'no_room');
    assert.equal(
      blocked?.why,
      'needs 64 MiB, 32 MiB are left on host b, which has the most (c is cordoned, d is dead)',
    );
    const [alone] = plan([host('a', 900), host('c', 500, 'cordoned')], [guest('g', 64)]).blocked;
    assert.equal(alone?.why, 'no other host takes guests: c is cordoned');
    assert.equal(alone?.code, 'no_host');
    assert.equal(plan([], [guest('g', 64)]).blocked[0]?.why, 'no other host takes guests');
    const kept = { code: 'doubt', why: 'in doubt' } as const;
    const [doubtful] = plan(hosts, [{ ...guest('g', 1), kept }]).blocked;
    assert.deepEqual([doubtful?.code, doubtful?.why], ['doubt', 'in doubt']);
  });

  it('a restore has one host to go to, and says what is short there', () => {
    const hosts = [host('a', 100), host('b', 1000)];
    const back = (name: string, sizeMiB: number) => ({ ...guest(name, sizeMiB, 'b'), only: 'a' });
    const { placements, blocked } = plan(hosts, [back('g', 64), back('h', 64)]);
    assert.deepEqual(
      placements.map((each) => each.target),
      ['a'],
    );
    assert.equal(blocked[0]?.why, 'needs 64 MiB, 36 MiB are left on host a');
    const refusing = [host('a', 100, 'cordoned'), host('b', 1000)];
    assert.equal(plan(refusing, [back('g', 64)]).blocked[0]?.code, 'cordoned');
  });

  it('a new guest goes to the emptiest host; no room and no host are told apart', () => {
    assert.equal(place([host('a', 10), host('b', 20), host('c', 20)], MIB), 'b');
    assert.throws(
      () => place([host('a', 10), host('b', 99, 'leaving')], 20 * MIB),
      (error: GodwitError) => error.code === 'host.no_room' && error.message.includes('host a'),
    );
    assert.throws(
      () => place([host('b', 99, 'leaving')], MIB),
      (error: GodwitError) => error.code === 'host.not_found',
    );
  });
});

const REFUSALS = ['cordoned', 'leaving', 'unreachable', 'dead', 'fenced'] as const;
const arbitraryHosts = fc
  .array(
    fc.record({
      roomMiB: fc.nat(600),
      refuses: fc.option(fc.constantFrom(...REFUSALS), { nil: undefined, freq: 3 }),
    }),
    { maxLength: 12 },
  )
  .map((rows) => rows.map(({ roomMiB, refuses }, i) => host(`h${i}`, roomMiB, refuses)));
const arbitraryGuests = fc
  .array(
    fc.record({
      sizeMiB: fc.integer({ min: 1, max: 300 }),
      at: fc.nat(11),
      only: fc.option(fc.nat(11), { nil: undefined, freq: 4 }),
      isKept: fc.boolean(),
    }),
    { maxLength: 40 },
  )
  .map((rows) =>
    rows.map(({ sizeMiB, at, only, isKept }, i) => ({
      ...guest(`g${i}`, sizeMiB, `h${at}`),
      ...(only !== undefined && { only: `h${only}` }),
      ...(isKept && sizeMiB % 7 === 0 && { kept: { code: 'doubt', why: 'doubt' } as const }),
    })),
  );

describe('planner, whatever the cluster', () => {
  it('never over memory, never to a host that refuses, never home, never elsewhere than asked', () => {
    fc.assert(
      fc.property(arbitraryHosts, arbitraryGuests, (hosts, guests) => {
        const left = new Map(hosts.map(({ name, roomBytes }) => [name, roomBytes]));
        const open = new Set(hosts.filter(({ refuses }) => !refuses).map(({ name }) => name));
        for (const { guest: name, target, memoryBytes } of plan(hosts, guests).placements) {
          const moved = guests.find((each) => each.name === name);
          assert.ok(open.has(target) && target !== moved?.host && !moved?.kept);
          if (moved?.only !== undefined) assert.equal(target, moved.only);
          left.set(target, (left.get(target) ?? 0) - memoryBytes);
        }
        for (const [name, bytes] of left) assert.ok(bytes >= 0, `${name}: ${bytes}`);
      }),
    );
  });

  it('every guest once: placed, or blocked by a constraint that is true', () => {
    fc.assert(
      fc.property(arbitraryHosts, arbitraryGuests, (hosts, guests) => {
        const { placements, blocked } = plan(hosts, guests);
        const named = [...placements, ...blocked].map((each) => each.guest);
        assert.deepEqual(named.toSorted(), guests.map(({ name }) => name).toSorted());
        const left = new Map(hosts.map(({ name, roomBytes }) => [name, roomBytes]));
        for (const { target, memoryBytes } of placements) {
          left.set(target, (left.get(target) ?? 0) - memoryBytes);
        }
        for (const { guest: name, code, memoryBytes, why } of blocked) {
          assert.ok(why.length > 0);
          if (code !== 'no_room') continue;
          const { host: home, only } = guests.find((each) => each.name === name)!;
          for (const each of hosts) {
            const isAllowed = only === undefined || each.name === only;
            if (each.refuses || each.name === home || !isAllowed) continue;
            assert.ok((left.get(each.name) ?? 0) < memoryBytes, `${name} fits on ${each.name}`);
          }
        }
      }),
    );
  });

  it('the same plan again, whatever the order of hosts and guests', () => {
    fc.assert(
      fc.property(arbitraryHosts, arbitraryGuests, (hosts, guests) => {
        const once = plan(hosts, guests);
        const again = plan(hosts.toReversed(), guests.toReversed());
        assert.deepEqual(again.placements, once.placements);
      }),
    );
  });

  it('1,000 hosts and 10,000 guests: two binary searches for each guest', () => {
    const hosts = Array.from({ length: 1_000 }, (_, i) => host(`h${i}`, 500 + (i % 37) * 40));
    const guests = Array.from({ length: 10_000 }, (_, i) =>
      guest(`g${i}`, 16 + ((i * 7919) % 113), `h${i % 1_000}`),
    );
    const { placements, blocked, work } = plan(hosts, guests);
    assert.equal(placements.length + blocked.length, 10_000);
    assert.equal(blocked.length, 0);
    assert.ok(work / guests.length < 24, `${work / guests.length} hosts compared a guest`);
  });
});
