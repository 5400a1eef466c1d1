/**
 * A machine on this thread with somebody at its console: turns, and between them what was typed.
 *
 * terminal or pipe -> LiveInput -> [live] -> input ring; turns.ts -> output
 *
 * The event loop gets its turn every SLICE_MS, so keys arrive while the machine computes. Input that does
 * not fit the ring waits here, and who pushes is told when to pause: nothing typed is lost.
 */
import { setImmediate, setTimeout } from 'node:timers/promises';
import * as map from '../assembly/memory-map.ts';
import { ConsoleRing } from './console-ring.ts';
import { EXIT_GAVE_UP, type RunEnd, type Turns } from './turns.ts';

/** How long the machine computes before the event loop is looked at: no key waits longer. */
const SLICE_MS = 10;
/** How often an idle machine looks for a timer of its own, or for input. */
const IDLE_MS = 1;
/** Bytes kept here before the pusher should pause. */
const QUEUED_MAX = 65536;

/** What comes from outside. Call from the thread that runs the machine. */
export class LiveInput {
  #bytes = new Uint8Array(0);
  #state: 'open' | 'ended' | 'left' = 'open';
  /** There is room again after `push` has answered false. */
  onRoom: () => void = () => {};

  /** False: enough for now, pause until onRoom. The bytes are taken all the same. */
  push(bytes: Uint8Array): boolean {
    this.#bytes = Buffer.concat([this.#bytes, bytes]);
    return this.#bytes.length < QUEUED_MAX;
  }

  /** No more will come: a machine that then waits for ever has ended. */
  end(): void {
    if (this.#state === 'open') this.#state = 'ended';
  }

  /** Ends the run where it stands. */
  leave(): void {
    this.#state = 'left';
  }

  get isOver(): boolean {
    return this.#state !== 'open' && this.#bytes.length === 0;
  }
  get isLeft(): boolean {
    return this.#state === 'left';
  }

  /** Hands over what fits. */
  moveTo(ring: ConsoleRing): void {
    if (this.#bytes.length === 0) return;
    this.#bytes = this.#bytes.slice(ring.writeInput(this.#bytes));
    if (this.#bytes.length < QUEUED_MAX) this.onRoom();
  }
}

/** Runs until the machine ends, is left, or waits for something that cannot come any more. */
export async function runLive(turns: Turns, input: LiveInput): Promise<RunEnd> {
  const ring = new ConsoleRing(turns.guest);
  const isTimed = turns.guest.control(map.CONTROL_CLOCK) === map.CLOCK_HOST;
  for (;;) {
    input.moveTo(ring);
    const round = slice(turns);
    if (round.is === 'ended') return round.end;
    if (input.isLeft) return { end: 'left', code: 0 };
    if (round.is !== 'waiting') await setImmediate();
    else if (isTimed || !input.isOver) await setTimeout(IDLE_MS);
    else return { end: 'idle', code: EXIT_GAVE_UP };
  }
}

function slice(turns: Turns): ReturnType<Turns['round']> {
  const until = performance.now() + SLICE_MS;
  let round = turns.round();
  while (round.is === 'busy' && performance.now() < until) round = turns.round();
  return round;
}
