/**
 * Goes through a switchover's own steps before there is one.
 *
 *   daemon, once it is ready -> [rehearsal] -> code that V8 has compiled when a guest stands still
 *
 * An agent may run for weeks before its first switchover, and half of that blackout is then code that runs
 * for the first time (measured: an idle Linux stands for 10.4 ms in pre-copy and 18.5 in post-copy, after a
 * rehearsal for 5.3 and 11.8). So what is pure of it is gone through ahead: capture, encode, digest, decode,
 * restore, and the two cores, with a guest that nobody sees and messages that are not sent. Main thread, one
 * short turn of the event loop at a time.
 */
import { GuestMemory, memoryMap as map, PageStates } from '@godwit/machine';
import {
  assert,
  type Core,
  decodeMessage,
  encodeMessage,
  type Facts,
  type Message,
  SOURCE,
  TARGET,
} from '@godwit/protocol';
import { captureGuest, restoreGuest } from '../guest/guest-state.ts';
import { handoverDigest } from './digest.ts';

/** So often V8 has compiled most of it; more turns made no switchover shorter. */
const TURNS = 100;
const SCRATCH_BYTES = 1024 * 1024;

const SOURCE_PATH = [
  'accepted',
  'roundDone',
  'policySwitch',
  'stoppedComplete',
  'landedGood',
] as const;
const TARGET_PATH = ['reserved', 'handover', 'manifestComplete', 'run'] as const;

export async function rehearse(turns = TURNS): Promise<void> {
  const guest = GuestMemory.create({ ramBytes: SCRATCH_BYTES, harts: 1 });
  Atomics.store(guest.i32, guest.hartWord(0, map.HART_STATE), map.HART_STOPPED);
  for (let turn = 0; turn < turns; turn++) {
    switchover(guest);
    await new Promise((resolve) => setImmediate(resolve).unref());
  }
}

function switchover(guest: GuestMemory): void {
  walk(SOURCE, SOURCE_PATH);
  walk(TARGET, TARGET_PATH);
  const state = captureGuest('machine', guest);
  const digest = handoverDigest(state, undefined, undefined);
  const missing = new Uint8Array(guest.pages / 8);
  said('source', {
    type: 'handover',
    epoch: 1,
    manifest: [guest.pages],
    missing,
    missingPages: 0,
    state,
    digest,
    pageHashes: new Uint8Array(0),
    stoppedNs: 0,
  });
  restoreGuest('machine', guest, state);
  new PageStates(guest).setAbsentFrom(new Uint32Array(guest.pages / 32));
  said('target', { type: 'landed', epoch: 1, digest, complete: true, atNs: 0 });
  said('source', { type: 'run', epoch: 1 });
}

function walk<
  P extends string,
  E extends string,
  X extends string,
  F extends Facts,
  W extends string,
>(core: Core<P, E, X, F, W>, path: readonly E[]): void {
  let state = core.initial;
  for (const event of path) {
    const step = core.step(state, event);
    assert(!step.ignored, `a ${core.role} that is ${state.phase} ignores ${event}`);
    state = step.state;
  }
}

function said(from: 'source' | 'target', message: Message): Message {
  return decodeMessage(encodeMessage(message), 'peer', from);
}
