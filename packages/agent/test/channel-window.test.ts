/** The delivery window against simulated links: it fills them, and no queue builds up. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CREDIT_BYTES, FRAME_PAYLOAD_BYTES_MAX } from '@godwit/protocol';
import { DeliveryWindow, type SentMark } from '../src/channel/delivery-window.ts';

const FRAME = FRAME_PAYLOAD_BYTES_MAX;

/** A link of one rate and delay, a sender that keeps the window full; returns the steady state. */
function run(bytesPerMs: number, delayMs: number, alone = true): { rate: number; bytes: number } {
  const window = new DeliveryWindow(alone);
  const underWay: { mark: SentMark; landsAtMs: number }[] = [];
  let [nowMs, freeAtMs, landed] = [0, 0, 0];
  const startMs = 100 * (delayMs + FRAME / bytesPerMs);
  while (nowMs < 3 * startMs) {
    while (window.admits(underWay.length * FRAME, FRAME)) {
      freeAtMs = Math.max(freeAtMs, nowMs) + FRAME / bytesPerMs;
      underWay.push({ mark: window.sent(nowMs), landsAtMs: freeAtMs + delayMs });
    }
    const { mark, landsAtMs } = underWay.shift()!;
    nowMs = landsAtMs;
    window.acknowledged(mark, FRAME, nowMs);
    if (nowMs > startMs) landed += FRAME;
  }
  return { rate: landed / (nowMs - startMs), bytes: window.bytes };
}

test('a short fast link is filled with the smallest window', () => {
  const { rate, bytes } = run(2e6, 0.2);
  assert.ok(rate > 0.97 * 2e6);
  assert.equal(Math.round(bytes / FRAME), 2);
});

test('a long fast link is filled as far as the credit goes', () => {
  for (const delayMs of [1, 3, 5]) {
    const { rate, bytes } = run(1.25e6, delayMs);
    const possible = Math.min(1.25e6, CREDIT_BYTES / (delayMs + FRAME / 1.25e6));
    assert.ok(rate > 0.9 * possible, `${rate} of ${possible} at ${delayMs} ms`);
    assert.ok(bytes <= CREDIT_BYTES);
  }
});

test('a slow link does not pile up a queue', () => {
  const { rate, bytes } = run(12_500, 1);
  assert.ok(rate > 0.97 * 12_500);
  assert.equal(Math.round(bytes / FRAME), 2);
});

test('a channel among several begins with one frame and grows with the delay', () => {
  const window = new DeliveryWindow(false);
  assert.ok(window.admits(0, FRAME));
  assert.ok(!window.admits(FRAME, FRAME));
  for (const delayMs of [1, 3, 5, 50]) {
    const { rate, bytes } = run(1.25e6, delayMs, false);
    const possible = Math.min(1.25e6, CREDIT_BYTES / (delayMs + FRAME / 1.25e6));
    assert.ok(rate > 0.9 * possible, `${rate} of ${possible} at ${delayMs} ms`);
    assert.ok(bytes <= CREDIT_BYTES);
  }
});
