/** One page channel alone, with a foreign client as its target: how it writes, and when it holds back. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { Socket } from 'node:net';
import { availableParallelism } from 'node:os';
import { type TestContext, test } from 'node:test';
import { makeBitmap, setBit } from '@godwit/machine';
import {
  CHANNELS_MAX,
  decodeHeader,
  emptyHeader,
  FRAME_PAYLOAD_BYTES_MAX,
  OPCODE,
  opcodeName,
  PAGE_BYTES,
  STRIPE_PAGES,
} from '@godwit/protocol';
import { Counters } from '../src/channel/counters.ts';
import { DeliveryWindow } from '../src/channel/delivery-window.ts';
import { PageChannel } from '../src/source/page-channel.ts';
import { PushTable, QUIET_AFTER_MS } from '../src/source/push-table.ts';
import { StripeTable } from '../src/source/stripe-table.ts';
import { frameBytes, HOST, randomGuest, sourceOptions } from './channel-pair.ts';

const STRIPES = 8;

async function openChannel(t: TestContext, channel: number) {
  const guest = randomGuest(STRIPES * STRIPE_PAGES * PAGE_BYTES);
  const options = sourceOptions(guest, 1);
  const [stripes, pushes] = [StripeTable.make(guest.pages), PushTable.make(guest.pages)];
  const attached = Promise.withResolvers<void>();
  const source = new PageChannel({
    kind: 'pages',
    guest,
    stripes,
    pushes,
    counters: Counters.make(channel + 1),
    migration: options.migration,
    capability: options.capability,
    channel,
    alone: true,
    host: HOST,
    ports: null,
    onAttached: attached.resolve,
    onGivenBack: () => {},
    onFailed: attached.reject,
  });
  t.after(() => source.close());
  const port = await source.listen();
  const target = new WebSocket(`ws://${HOST}:${port}/v1/pages/${options.migration}`);
  target.binaryType = 'arraybuffer';
  const frames: string[] = [];
  const sizes = new EventTarget();
  target.onmessage = ({ data }) => {
    const header = decodeHeader(new DataView(data), 0, 'source', 'pages', emptyHeader());
    frames.push(opcodeName(header.opcode) ?? '');
    sizes.dispatchEvent(new Event('frame'));
  };
  await once(target, 'open');
  target.onclose = ({ reason }) => attached.reject(new Error(`turned away: ${reason}`));
  const attach = { opcode: OPCODE.ATTACH, round: 1, firstPage: channel };
  target.send(frameBytes(attach, Buffer.from(options.capability)));
  await attached.promise;
  t.after(() => target.close());
  const until = async (count: number) => {
    while (frames.length < count) await once(sizes, 'frame');
  };
  return { guest, source, stripes, pushes, frames, until };
}

test('scattered pages of a round and its barrier leave in one write', async (t) => {
  const { guest, source, stripes, frames, until } = await openChannel(t, 0);
  const dirty = makeBitmap(guest.pages);
  for (let stripe = 0; stripe < STRIPES; stripe++) setBit(dirty, stripe * STRIPE_PAGES + 5);
  stripes.load(dirty, dirty);
  // What a socket does when it hands bytes to the kernel, one buffer or several.
  const prototype = Socket.prototype as unknown as Record<'_writev' | '_write', () => void>;
  const writes = [t.mock.method(prototype, '_writev'), t.mock.method(prototype, '_write')];
  source.sendRound(0, 1).catch(() => {});
  await until(STRIPES + 1);
  const calls = writes.map((write) => write.mock.callCount());
  assert.deepEqual(frames, [...Array(STRIPES).fill('WRITE_LIST'), 'BARRIER']);
  assert.deepEqual(calls, [1, 0]);
});

test('a round that has used up its credit says that it is over all the same', {
  timeout: 20_000,
}, async (t) => {
  const { guest, source, stripes, frames, until } = await openChannel(t, 0);
  // As many frames as a channel alone has under way before it hears of one; the target gives no credit.
  const full = new DeliveryWindow(true).bytes / FRAME_PAYLOAD_BYTES_MAX;
  const dirty = makeBitmap(guest.pages).fill(0xffffffff, ((STRIPES - full) * STRIPE_PAGES) / 32);
  stripes.load(dirty, dirty);
  source.sendRound(0, 1).catch(() => {});
  await until(full + 1);
  assert.deepEqual(frames, [...Array(full).fill('WRITE'), 'BARRIER']);
});

test('after a fault a channel that is one too many pushes nothing until it is quiet', async (t) => {
  const channel = CHANNELS_MAX + availableParallelism();
  const { guest, source, pushes, frames, until } = await openChannel(t, channel);
  const missing = makeBitmap(guest.pages);
  for (const page of [3, 40]) setBit(missing, page);
  pushes.load(
    missing,
    Uint32Array.from({ length: guest.pages / 16 }, (_, i) => i),
  );
  let now = 1_000_000;
  t.mock.method(Date, 'now', () => now);
  pushes.hint(40);
  source.startPush(1);
  // The pump looks again by the clock of the event loop, which goes on.
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert.deepEqual(frames, []);
  now += QUIET_AFTER_MS + 1;
  await until(2);
  assert.deepEqual(frames, ['WRITE_LIST', 'WRITE_LIST']);
});
