/** The line in which moves wait: limits are kept, nobody starves, priorities are shares. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { MoveLimits, Priority } from '@godwit/protocol';
import fc from 'fast-check';
import { PASSES_MAX, PRIORITY_WEIGHTS } from '../src/placement/limits.ts';
import { admit, type Ends, inOrder, nextTag, type Waiting } from '../src/placement/line.ts';

const LIMITS: MoveLimits = { perHost: 2, perCluster: 3 };

function waiting(id: string, source: string, target: string, tag: number, passed = 0): Waiting {
  return { id, source, target, tag, passed };
}

type Move = [flow: string, priority: Priority, source: string, target: string];

/** The line as the coordinator keeps it: comes, starts, ends. */
class Line {
  readonly limits: MoveLimits;
  line: (Waiting & { flow: string })[] = [];
  running: (Ends & { id: string })[] = [];
  readonly started: string[] = [];
  #clock = 0;
  #count = 0;

  constructor(limits: MoveLimits) {
    this.limits = limits;
  }

  come(flow: string, priority: Priority, source: string, target: string): string {
    const tags = this.line.filter((each) => each.flow === flow).map((each) => each.tag);
    const tag = nextTag(this.#clock, tags.length > 0 ? Math.max(...tags) : undefined, priority);
    this.#count += 1;
    const id = `${flow}-${String(this.#count).padStart(4, '0')}`;
    this.line.push({ ...waiting(id, source, target, tag), flow });
    return id;
  }

  look(): void {
    const { start, passed } = admit(inOrder(this.line), this.running, this.limits);
    for (const id of start) {
      const move = this.line.find((each) => each.id === id)!;
      this.#clock = Math.max(this.#clock, move.tag);
      this.running.push(move);
      this.started.push(id);
    }
    this.line = this.line
      .filter(({ id }) => !start.includes(id))
      .map((each) => ({ ...each, passed: each.passed + (passed.get(each.id) ?? 0) }));
    this.check();
  }

  end(index: number): void {
    this.running.splice(index % Math.max(1, this.running.length), 1);
    this.look();
  }

  check(): void {
    assert.ok(this.running.length <= this.limits.perCluster);
    for (const { source, target } of this.running) {
      for (const host of [source, target]) {
        const at = this.running.filter((each) => each.source === host || each.target === host);
        assert.ok(at.length <= this.limits.perHost, `${host}: ${at.length}`);
      }
    }
  }
}

describe('line', () => {
  it('lets in what the limits of both hosts and of the cluster allow, and says why the rest waits', () => {
    const line = [
      waiting('m1', 'a', 'b', 1),
      waiting('m2', 'a', 'c', 2),
      waiting('m3', 'a', 'd', 3),
      waiting('m4', 'e', 'f', 4),
      waiting('m5', 'e', 'f', 5),
    ];
    const { start, reasons } = admit(line, [], LIMITS);
    assert.deepEqual(start, ['m1', 'm2', 'm4']);
    assert.equal(reasons.get('m3'), 'host a has 2 of 2 moves under way');
    assert.equal(reasons.get('m5'), '3 of 3 moves are under way');
  });

  it('a move that cannot start stands aside and holds nobody up', () => {
    const line = [
      { ...waiting('m1', 'a', 'b', 1), hindered: 'host b is not connected' },
      waiting('m2', 'a', 'c', 2),
    ];
    const { start, reasons, passed } = admit(line, [], LIMITS);
    assert.deepEqual(start, ['m2']);
    assert.equal(reasons.get('m1'), 'host b is not connected');
    assert.equal(passed.size, 0);
  });

  it('is passed only so often: then its hosts are kept free for it', () => {
    const busy = [
      { source: 'b', target: 'x' },
      { source: 'b', target: 'y' },
    ];
    const limits = { perHost: 2, perCluster: 99 };
    const line = (passed: number) => [
      waiting('m1', 'a', 'b', 1, passed),
      waiting('m2', 'a', 'c', 2),
    ];
    const before = admit(line(PASSES_MAX - 1), busy, limits);
    assert.deepEqual(before.start, ['m2']);
    assert.equal(before.passed.get('m1'), 1);
    const after = admit(line(PASSES_MAX), busy, limits);
    assert.deepEqual(after.start, []);
    assert.match(after.reasons.get('m2') ?? '', /kept free for m1/);
  });

  it('a single move does not wait behind a drain, whatever came first', () => {
    const line = new Line({ perHost: 99, perCluster: 1 });
    for (let i = 0; i < 100; i++) line.come('drain', 'normal', 'a', 'b');
    line.look();
    const mine = line.come('people', 'normal', 'c', 'd');
    line.end(0);
    line.end(0);
    assert.ok(line.started.includes(mine), line.started.join(' '));
  });

  it('a priority is a share: starts of two flows stand as their weights', () => {
    const line = new Line({ perHost: 99, perCluster: 1 });
    for (let i = 0; i < 200; i++) line.come('low', 'low', 'a', 'b');
    for (let i = 0; i < 200; i++) line.come('high', 'high', 'c', 'd');
    line.look();
    for (let i = 0; i < 84; i++) line.end(0);
    const low = line.started.filter((id) => id.startsWith('low')).length;
    const high = line.started.length - low;
    const share = PRIORITY_WEIGHTS.high / PRIORITY_WEIGHTS.low;
    assert.ok(Math.abs(high / low - share) < share / 4, `${high} to ${low}`);
  });

  it('nobody starves: each starts although others keep coming, and the limits hold throughout', () => {
    const host = fc.constantFrom('a', 'b', 'c', 'd');
    const priority = fc.constantFrom<Priority>('low', 'normal', 'high');
    const flow = fc.constantFrom('people', 'd1', 'd2');
    const move = fc
      .tuple(flow, priority, host, host)
      .filter(([, , source, target]) => source !== target);
    const limits = fc.record({
      perHost: fc.integer({ min: 1, max: 3 }),
      perCluster: fc.integer({ min: 1, max: 4 }),
    });
    fc.assert(
      fc.property(
        limits,
        fc.array(move, { minLength: 1, maxLength: 12 }),
        fc.infiniteStream(move),
        fc.infiniteStream(fc.nat(9)),
        (some, first, later, ends) => {
          const line = new Line(some);
          for (const each of first) line.come(...each);
          const last = line.come('people', 'low', 'a', 'b');
          line.look();
          // Three come for each that ends. The bound: what three flows may have before it by its tag
          // (16 to 1), each of them passed and held for.
          let endings = 0;
          for (; !line.started.includes(last); endings++) {
            assert.ok(endings < 1_500, `${last} waits still after ${endings} endings`);
            for (let i = 0; i < 3; i++) line.come(...(later.next().value as Move));
            line.end(ends.next().value as number);
          }
        },
      ),
      { numRuns: 60 },
    );
  });
});
