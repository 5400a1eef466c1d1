/**
 * For `node --import`: a process whose wall clock is wrong by TEST_CLOCK_SHIFT_MS, threads included. The
 * monotonic clock stays as it is, as it does when somebody sets the time of a machine.
 */
const shiftMs = Number(process.env.TEST_CLOCK_SHIFT_MS ?? 0);
const RightDate = Date;

class ShiftedDate extends RightDate {
  constructor(...args: [] | [value: number | string | Date]) {
    if (args.length === 0) super(RightDate.now() + shiftMs);
    else super(...args);
  }

  static override now(): number {
    return RightDate.now() + shiftMs;
  }
}

globalThis.Date = ShiftedDate as DateConstructor;
