/** The timeline: three clocks that disagree by years, one order of events. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { timelineLines } from '../src/timeline.ts';
import { aMigration, aResult } from './fake-coordinator.ts';

const YEARS = 10 * 365 * 86_400_000;
const START = Date.UTC(2026, 10, 22);
/** Monotonic milliseconds of each end at the moment of the request. */
const SOURCE_AT = 5_000;
const TARGET_AT = 901_000;

/** A phase `afterMs` the request, heard `delayMs` later; that end's wall clock is off by `skewMs`. */
function phase(
  role: 'source' | 'target',
  name: string,
  afterMs: number,
  delayMs: number,
  skewMs = 0,
) {
  const monotonicMs = (role === 'source' ? SOURCE_AT : TARGET_AT) + afterMs;
  return {
    role,
    phase: name,
    note: '',
    atMs: START + afterMs + skewMs,
    atNs: monotonicMs * 1e6,
    heardAtMs: START + afterMs + delayMs,
  };
}

const phases = [
  phase('source', 'rounds', 10, 0),
  phase('source', 'offered', 50, 3),
  // Heard late, and by a clock that is ten years behind: neither may move it.
  phase('target', 'landed', 52, 40, -YEARS),
  phase('source', 'released', 53, 30),
  phase('target', 'running', 54, 35, -YEARS),
];
const decisions = [{ round: 0, action: 'stopAndCopy', reason: 'it fits', atMs: START + 48 }];
const moved = {
  startedAtMs: START,
  endedAtMs: START + 90,
  state: 'completed',
  source: 'a',
  target: 'b',
  phases,
  decisions,
} as const;

describe('the timeline', () => {
  it('puts both ends and the coordinator on one axis', () => {
    const result = aResult({ clockOffsetMs: TARGET_AT - SOURCE_AT, clockErrorMs: 0.04 });
    const lines = timelineLines(
      aMigration({ ...moved, phases: [...phases], decisions: [...decisions], result }),
    );
    assert.equal(
      lines[0],
      'timeline         since the request; clock of b minus clock of a: +896000.000 ms (within 0.040 ms)',
    );
    assert.deepEqual(
      lines.slice(1).map((line) => line.trim().replace(/ {2,}/g, ' | ')),
      [
        '+0 ms | coordinator | asked to move mem1 to b',
        '+10 ms | source a | rounds',
        '+48 ms | coordinator | after round 0: switch',
        '+50 ms | source a | offered',
        '+52 ms | target b | landed',
        '+53 ms | source a | released',
        '+54 ms | target b | running',
        '+90 ms | coordinator | completed',
      ],
    );
  });

  it('does without a comparison of clocks when the move ended before one', () => {
    const lines = timelineLines(
      aMigration({ ...moved, state: 'failed', phases: [...phases], decisions: [] }),
    );
    assert.match(lines[0]!, /were not compared/);
    // The target is placed by the message that took least: 35 ms too late, and in its own order.
    const order = lines.map((line) => /(landed|running|released)/.exec(line)?.[1]).filter(Boolean);
    assert.deepEqual(order, ['released', 'landed', 'running']);
  });

  it('says nothing before anything happened', () => {
    assert.deepEqual(timelineLines(aMigration()), []);
  });
});
