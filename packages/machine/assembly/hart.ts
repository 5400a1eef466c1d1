/**
 * The life of a hart: from safepoint to safepoint, slice by slice, until something ends it.
 *
 * vCPU thread -> [run] -> execute, trap, WFI -> the reason why it came back
 *
 * Between two slices (at most SLICE_MAX instructions) the hart looks at everything others may want of
 * it: end, stop, flush, throttle, interrupts. The looks come in this order for the sake of
 * CLOCK_INSTRUCTIONS: "stopped at instruction N" always means before interrupts are taken and before a
 * WFI skips ahead, so a guest that was stopped and one that was not are the same at N. A slice ends at
 * the very instruction where the timer fires or the count is reached.
 */
import { countsInstructions, guestTicks, skipTo, thaw } from './clock';
import { core, DONE, field, select, setField, TRAPPED } from './core';
import { execute } from './execute';
import { endsWait, NEVER, nextChange, nextWake } from './interrupts';
import {
  EXIT_BREAK, EXIT_BUDGET, EXIT_BUSY, EXIT_END, EXIT_OUTPUT, EXIT_STOP_AT, EXIT_STOPPED, EXIT_WFI,
  HART_LAST_TRAP, HART_PC, HART_TICKS_SKIPPED, HART_WFI, HSM_STATE, HSM_STOPPED,
  INSTRUCTIONS_PER_TICK, NANOSECONDS_PER_TICK,
} from './machine-map.ts';
import {
  BREAKS_MAX, CONTROL_BREAKS, CONTROL_BREAK_LIST, CONTROL_END, CONTROL_HARTS, CONTROL_RUN,
  CONTROL_STEPPING, CONTROL_STOP_AT, CONTROL_THROTTLE, END_NONE, END_STOP_AT, HARTS, HART_INSTRUCTIONS,
  HART_SIZE, RUN_GO,
} from './memory-map.ts';
import { now, obeyFlush, park, sleep, start, stop, unpark, wakeWord } from './park';
import { isHartStarted, obeyFences } from './sbi';
import { endGuest } from './syscon';
import { takeException, takeInterrupt } from './trap';
import { outputWaits } from './uart';
import { serveInput } from './virtio';

/** A stop or a flush waits at most this many instructions for a busy hart: about 0.2 ms. */
const SLICE_MAX: u64 = 32768;
/** The throttle sleeps when so much is owed, so that a sleep is well above the cost of one. */
const THROTTLE_OWED_NS: u64 = 1_000_000;
const THROTTLE_MAX: u64 = 999;

/** Longest sleep of an idle hart. Everything that concerns it rings its wake word, so this is for nobody. */
const IDLE_LIMIT_NS: i64 = 100_000_000;

let throttleSince: u64 = 0;
let throttleOwedNs: u64 = 0;

@inline function goes(): bool {
  return atomic.load<u32>(CONTROL_RUN) == RUN_GO && atomic.load<u32>(CONTROL_END) == END_NONE;
}

/** Time run since the last look costs time asleep in the proportion t : 1000 - t. */
function throttle(): void {
  const parts = min<u64>(atomic.load<u32>(CONTROL_THROTTLE), THROTTLE_MAX);
  if (!parts) {
    throttleSince = 0;
    return;
  }
  const at = now();
  if (throttleSince) throttleOwedNs += (at - throttleSince) * parts / (1000 - parts);
  throttleSince = at;
  if (throttleOwedNs < THROTTLE_OWED_NS) return;
  park();
  while (true) {
    const seen = wakeWord();
    const slept = now() - at;
    if (!goes() || slept >= throttleOwedNs) break;
    sleep(seen, min<i64>(<i64>(throttleOwedNs - slept), IDLE_LIMIT_NS));
  }
  unpark();
  throttleOwedNs = 0;
  throttleSince = now();
}

/** How long until a timer ends the wait, ns; IDLE_LIMIT_NS when it is further away or off. */
function untilWakeNs(): i64 {
  const next = nextWake();
  const at = guestTicks();
  if (next <= at) return 0;
  const limit = <u64>IDLE_LIMIT_NS / NANOSECONDS_PER_TICK;
  return <i64>(min<u64>(next - at, limit) * NANOSECONDS_PER_TICK);
}

@inline function isSwitchedOff(hart: i32): bool {
  return atomic.load<u64>(HSM_STATE + <usize>hart * 8) == HSM_STOPPED;
}

/** Ends this hart's WFI if it may go on. */
function endWait(): bool {
  if (!endsWait()) return false;
  setField(HART_WFI, 0);
  return true;
}

/** One wait of a hart in WFI. The wake word is read before the last look, so no wake is missed. */
function waitForInterrupt(): void {
  park();
  const seen = wakeWord();
  guestTicks();
  if (goes() && !endWait()) sleep(seen, untilWakeNs());
  unpark();
}

/** One wait of a hart that SBI has stopped, or not started yet. */
function waitForStart(): void {
  park();
  const seen = wakeWord();
  if (goes() && isSwitchedOff(core.number)) sleep(seen, IDLE_LIMIT_NS);
  unpark();
}

/** Instructions until a timer changes an interrupt input, CLOCK_INSTRUCTIONS only. */
function untilChange(): u64 {
  if (!countsInstructions()) return SLICE_MAX;
  const next = nextChange();
  if (next == NEVER) return SLICE_MAX;
  const ticks = next - field(HART_TICKS_SKIPPED);
  if (ticks > u64.MAX_VALUE / INSTRUCTIONS_PER_TICK) return SLICE_MAX;
  return ticks * INSTRUCTIONS_PER_TICK - field(HART_INSTRUCTIONS);
}

/** Whether a debugger wants the hart stopped before the instruction at its pc. */
function atBreak(count: u32): bool {
  const pc = field(HART_PC);
  for (let i: u32 = 0; i < count; i++) {
    if (load<u64>(CONTROL_BREAK_LIST + (<usize>i << 3)) == pc) return true;
  }
  return false;
}

/** Executes up to `count` instructions, takes the exception that ends them, answers how many retired. */
function advance(count: u32): u32 {
  const retired = execute(count);
  atomic.store<u64>(core.block + HART_INSTRUCTIONS, field(HART_INSTRUCTIONS) + retired);
  if (core.outcome == TRAPPED) takeException();
  return retired;
}

/** Whether the hart may go on without a look at its attention words and timers. */
@inline function goesOn(): bool { return core.outcome < DONE || core.outcome == TRAPPED; }

/**
 * One slice. Traps, returns from them and changes of translation in between do not end it, only what
 * others may want to know of or what may change the timers does. True: it ended before an instruction
 * that has a breakpoint.
 */
function slice(limit: u64): bool {
  let left = <u32>min<u64>(min<u64>(limit, SLICE_MAX), untilChange());
  const breaks = min<u32>(atomic.load<u32>(CONTROL_BREAKS), BREAKS_MAX);
  const stepping = atomic.load<u32>(CONTROL_STEPPING) != 0;
  while (left) {
    if (!stepping) takeInterrupt();
    if (breaks && atBreak(breaks)) return true;
    left -= advance(breaks ? 1 : left);
    if (!goesOn() && !(breaks && core.outcome == DONE)) return false;
  }
  return false;
}

/** Sleeps, skips ahead or gives up waiting. 0: look again. */
function idle(waits: bool): i32 {
  if (endWait()) return 0;
  const next = countsInstructions() ? nextWake() : NEVER;
  if (next != NEVER) {
    skipTo(next);
    return 0;
  }
  if (!waits) return EXIT_WFI;
  waitForInterrupt();
  return 0;
}

/** The last hart to reach its stop ends the guest; those that SBI has stopped are not waited for. */
function atStop(stopAt: u64): i32 {
  const harts = <i32>atomic.load<u32>(CONTROL_HARTS);
  for (let hart = 0; hart < harts; hart++) {
    const block = HARTS + <usize>hart * HART_SIZE;
    if (!isSwitchedOff(hart) && atomic.load<u64>(block + HART_INSTRUCTIONS) < stopAt) return EXIT_STOP_AT;
  }
  endGuest(END_STOP_AT, 0);
  return EXIT_STOP_AT;
}

function loop(end: u64, waits: bool): i32 {
  while (true) {
    if (atomic.load<u32>(CONTROL_END) != END_NONE) return EXIT_END;
    if (atomic.load<u32>(CONTROL_RUN) != RUN_GO) return EXIT_STOPPED;
    obeyFlush();
    throttle();
    obeyFences();
    if (!waits && outputWaits()) return EXIT_OUTPUT;
    if (!isHartStarted()) {
      if (!waits) return EXIT_WFI;
      waitForStart();
      continue;
    }
    serveInput();
    const done = field(HART_INSTRUCTIONS);
    const stopAt = atomic.load<u64>(CONTROL_STOP_AT);
    if (done >= stopAt) return atStop(stopAt);
    if (done >= end) return EXIT_BUDGET;
    guestTicks();
    if (field(HART_WFI)) {
      const reason = idle(waits);
      if (reason) return reason;
      continue;
    }
    if (slice(min<u64>(stopAt, end) - done)) return EXIT_BREAK;
  }
}

/**
 * Runs a hart until something ends it; returns an EXIT_* reason. `waits` false: come back with EXIT_WFI
 * rather than sleep in WFI, and with EXIT_OUTPUT before the console overwrites what was not read.
 */
export function run(hart: i32, maxInstructions: u64, waits: bool): i32 {
  if (<u32>hart >= atomic.load<u32>(CONTROL_HARTS)) return EXIT_BUSY;
  select(hart);
  if (!start()) return EXIT_BUSY;
  thaw();
  throttleSince = 0;
  setField(HART_LAST_TRAP, 0);
  const done = field(HART_INSTRUCTIONS);
  const end = done + maxInstructions < done ? u64.MAX_VALUE : done + maxInstructions;
  const reason = loop(end, waits);
  stop();
  return reason;
}
