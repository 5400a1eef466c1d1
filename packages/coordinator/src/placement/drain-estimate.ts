/**
 * How long a drain takes: before it begins from the predictions, then from its own moves.
 *
 *   plan's moves, limits --> [drain estimate] --> predicted time and range
 *   moves done, bytes left --> [drain estimate] --> time left and range
 *
 * Pure. Moves of one host share its link, so bytes do not overlap; reserving, hand-over and digests of
 * one move overlap with the bytes of another. An estimate may grow when a move is slower than those
 * before it: that is what it is for.
 */
import type { Migration, MoveLimits, MovePlan } from '@godwit/protocol';
import { wallSpanMs } from '../wall-clock.ts';

export interface Estimate {
  readonly ms: number;
  readonly rangeMs: [number, number];
}

/** @param moves all with the same host as source (a drain) or as target (a restore) */
export function predictDrain(moves: readonly MovePlan[], limits: MoveLimits): Estimate {
  const costs = moves.map(({ prediction }) => prediction);
  const inARow = sum(costs.map(({ totalMs }) => totalMs));
  const longest = costs.reduce((most, { totalMs }) => Math.max(most, totalMs), 0);
  const overlap = Math.max(1, Math.min(limits.perHost, limits.perCluster, moves.length));
  const perfect = Math.max(inARow / overlap, longest);
  // Digests run on other cores and a stopped guest waits for its own hand-over: they share nothing.
  const shared = inARow - sum(costs.map(({ verifyMs }) => verifyMs));
  return { ms: Math.max(perfect, shared), rangeMs: [perfect, inARow] };
}

/**
 * @param done moves of the drain that completed, in any order
 * @param leftBytes of guests that wait or move now
 * @param nowMs Unix time
 */
export function timeLeft(
  done: readonly Migration[],
  leftBytes: number,
  nowMs: number,
): Estimate | undefined {
  const first = Math.min(...done.map(({ startedAtMs }) => startedAtMs));
  const bytes = sum(done.map(({ memoryBytes }) => memoryBytes));
  if (done.length === 0 || bytes === 0 || leftBytes === 0) return undefined;
  // Of all moves together, with what they cost each other; the spread is that of single ones.
  const times = done.map(({ result }) => result?.totalMs ?? 0);
  const tookMs = wallSpanMs(nowMs - first, sum(times));
  const ms = (leftBytes * Math.max(1, tookMs)) / bytes;
  const each = done.map((view) => (view.result?.totalMs ?? 0) / view.memoryBytes);
  const mean = sum(each) / each.length;
  const spread = (value: number) => (mean > 0 ? (ms * value) / mean : ms);
  return { ms, rangeMs: [spread(Math.min(...each)), spread(Math.max(...each))] };
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
