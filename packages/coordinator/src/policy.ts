/**
 * What to do after a round: the one place where a migration's course is chosen.
 *
 *   round reports, oldest first --> [policy] --> action, throttle, a sentence that says why
 *
 * Pure: no clock, no state of its own. The same reports give the same decision, so a decision can
 * be replayed from the record, and a coordinator that restarts in mid-round decides as the one
 * before it would have. It is asked at round ends only; asking in between would sample a sawtooth.
 *
 * Three questions in this order: does what remains fit the downtime; would another round make it
 * clearly less; and if neither, what has the operator allowed (post-copy, throttling, giving up).
 */
import {
  type Message,
  type Mode,
  PAGE_BYTES,
  ROUNDS_LIMIT_DEFAULT,
  type RoundReport,
} from '@godwit/protocol';

export interface PolicyInput {
  readonly mode: Mode;
  readonly maxDowntimeMs: number;
  /** The operator allows the guest's harts to be slowed down. */
  readonly mayThrottle: boolean;
  /** At least one, oldest first. */
  readonly reports: readonly RoundReport[];
  /** Share of time the harts are held by the last decision, 0 to THROTTLE_PERMILLE_MAX. */
  readonly throttlePermille: number;
}

export interface Decision {
  readonly action: Message<'decision'>['action'];
  readonly throttlePermille: number;
  readonly reason: string;
}

/** Stopping the harts, machine state, LANDED and RUN: what a switchover costs beside its pages. */
export const SWITCHOVER_FIXED_MS = 4;
/** A round pays when it is expected to leave at most this share of what remains now. */
const PAYS_RATIO = 0.75;
/** With what remains inside the downtime target, only a clear gain is worth another round. */
const PAYS_RATIO_WHEN_FITS = 0.5;
/** And below this it is not worth one at all: the fixed part dominates. */
const GAIN_MS_MIN = 0.5;
/** Rounds without a new low-water mark that make a stall. Post-copy is cheap, so hybrid waits less. */
const STALL_ROUNDS = { precopy: 5, hybrid: 2 } as const;
/** Inside the target but on a peak: rounds to wait for the trough before taking what there is. */
const TROUGH_WAIT_ROUNDS = 3;
const PEAK_RATIO = 2;
const THROTTLE_FIRST_PERMILLE = 200;
const THROTTLE_STEP_PERMILLE = 100;
/** The guest keeps at least a hundredth of its time, or it could not even answer its console. */
export const THROTTLE_PERMILLE_MAX = 990;
/** A round counts for the bandwidth in proportion to its bytes, up to here. */
const WEIGHT_BYTES_MAX = 16 * 1024 * 1024;
/** Mostly zero pages: such a round measures the scan for zeros, not the link. */
const INFORMATIVE_SHARE = 1 / 8;

/** What the policy made of the reports. */
interface Outlook {
  readonly rounds: number;
  readonly remainingBytes: number;
  /** Smoothed; Infinity while nothing measured the link. */
  readonly bandwidthBytesPerS: number;
  /** Expected downtime if the guest stopped now. */
  readonly downtimeMs: number;
  /** The same if the link carries no more than it is known to: no round was faster than its link. */
  readonly downtimeMsMax: number;
  /** Expected to remain after another round. */
  readonly nextRemainingBytes: number;
  readonly lowestBytes: number;
  readonly roundsSinceLowest: number;
}

/** @param input what is known at the end of the last report's round */
export function decide(input: PolicyInput): Decision {
  const { throttlePermille } = input;
  const outlook = lookAhead(input.reports);
  const say = (action: Decision['action'], reason: string): Decision => ({
    action,
    throttlePermille,
    reason,
  });

  if (input.mode === 'postcopy') {
    return say('postcopy', 'post-copy was asked for: switch first, pull the pages afterwards');
  }
  if (outlook.downtimeMs <= input.maxDowntimeMs) return decideFitting(input, outlook, say);

  const limit = outlook.rounds >= ROUNDS_LIMIT_DEFAULT;
  const stall = outlook.roundsSinceLowest >= STALL_ROUNDS[input.mode];
  const remains = describe(outlook);
  if (input.mode === 'hybrid') {
    if (limit) return say('postcopy', `post-copy: ${remains} after ${outlook.rounds} rounds`);
    if (stall) return say('postcopy', `post-copy: ${remains}, no less for ${plural(outlook)}`);
    return pays(outlook, PAYS_RATIO)
      ? say('again', `next round: ${remains}, falling`)
      : say('postcopy', `post-copy: ${remains}, another round would not make it clearly less`);
  }
  return decidePrecopy(input, outlook, limit, stall, say);
}

type Say = (action: Decision['action'], reason: string) => Decision;

/** What remains fits the downtime target: stop now, or wait for less where that is cheap. */
function decideFitting(input: PolicyInput, outlook: Outlook, say: Say): Decision {
  const fits = `${mib(outlook.remainingBytes)} fits the ${ms(input.maxDowntimeMs)} target (${ms(outlook.downtimeMs)})`;
  if (outlook.rounds >= ROUNDS_LIMIT_DEFAULT) {
    return say('stopAndCopy', `switch: ${fits}, after ${outlook.rounds} rounds`);
  }
  // A guest of zeros: its first round may have said too little of the link, its second one will say more.
  if (outlook.rounds === 1 && outlook.downtimeMsMax > input.maxDowntimeMs) {
    const remain = `${mib(outlook.remainingBytes)} remain`;
    return say('again', `next round: ${remain}, bandwidth not known yet`);
  }
  const gainMs = transferMs(outlook, outlook.remainingBytes - outlook.nextRemainingBytes);
  if (
    pays(outlook, PAYS_RATIO_WHEN_FITS) &&
    gainMs > GAIN_MS_MIN &&
    outlook.roundsSinceLowest === 0
  ) {
    return say('again', `next round: ${fits}, and about ${ms(gainMs)} less after it`);
  }
  const peak = outlook.remainingBytes > outlook.lowestBytes * PEAK_RATIO && gainAtTrough(outlook);
  if (peak && outlook.roundsSinceLowest <= TROUGH_WAIT_ROUNDS) {
    return say('again', `next round: ${fits}, but ${mib(outlook.lowestBytes)} was seen before`);
  }
  const lowest = outlook.roundsSinceLowest === 0 ? ', lowest so far' : '';
  return say('stopAndCopy', `switch: ${fits}${lowest}`);
}

/** Nothing fits and only pre-copy is allowed: rounds while they pay, then throttle, then give up. */
function decidePrecopy(
  input: PolicyInput,
  outlook: Outlook,
  limit: boolean,
  stall: boolean,
  say: Say,
): Decision {
  const remains = describe(outlook);
  const throttled = input.throttlePermille;
  if (input.mayThrottle && throttled < THROTTLE_PERMILLE_MAX && !pays(outlook, PAYS_RATIO)) {
    const next = Math.min(
      throttled === 0 ? THROTTLE_FIRST_PERMILLE : throttled + THROTTLE_STEP_PERMILLE,
      THROTTLE_PERMILLE_MAX,
    );
    if (!limit) {
      const reason = `next round, guest slowed down by ${next / 10} %: ${remains}, not falling`;
      return { action: 'again', throttlePermille: next, reason };
    }
  }
  const needs = `${ms(input.maxDowntimeMs)} allowed, ${ms(outlook.downtimeMs)} needed`;
  if (limit) return say('giveUp', `${remains} after ${outlook.rounds} rounds: ${needs}`);
  // A slowed guest needs a round to show it, so a stall counts only when nothing is left to try.
  if (stall && (!input.mayThrottle || throttled >= THROTTLE_PERMILLE_MAX)) {
    return say('giveUp', `${remains}, no less for ${plural(outlook)}: ${needs}`);
  }
  const trend = outlook.roundsSinceLowest === 0 ? 'falling' : 'not falling yet';
  return say('again', `next round: ${remains}, ${trend}`);
}

function lookAhead(reports: readonly RoundReport[]): Outlook {
  const last = reports.at(-1);
  if (last === undefined) throw new Error('the policy needs at least one report');
  const bandwidthBytesPerS = smoothedBandwidth(reports);
  const remainingBytes = last.remainingPages * PAGE_BYTES;
  const roundS =
    bandwidthBytesPerS > 0 ? remainingBytes / bandwidthBytesPerS : Number.POSITIVE_INFINITY;

  // "No less" allows a twentieth: noise must not look like progress, or like its end.
  let lowestBytes = Number.POSITIVE_INFINITY;
  let lowestAt = 0;
  reports.forEach((report, i) => {
    const bytes = report.remainingPages * PAGE_BYTES;
    if (bytes < lowestBytes * 0.95 || lowestBytes === Number.POSITIVE_INFINITY) {
      lowestBytes = bytes;
      lowestAt = i;
    }
  });
  return {
    rounds: reports.length,
    remainingBytes,
    bandwidthBytesPerS,
    downtimeMs: remainingBytes === 0 ? SWITCHOVER_FIXED_MS : SWITCHOVER_FIXED_MS + roundS * 1000,
    downtimeMsMax: remainingBytes === 0 ? SWITCHOVER_FIXED_MS : atMostMs(reports, remainingBytes),
    nextRemainingBytes: remainingBytes === 0 ? 0 : last.dirtyBytesPerS * roundS,
    lowestBytes,
    roundsSinceLowest: reports.length - 1 - lowestAt,
  };
}

/** What the bytes take at the best rate that any round is known to have had. */
function atMostMs(reports: readonly RoundReport[], bytes: number): number {
  const rates = reports.map((report) => report.bytes / Math.max(report.durationMs, 1e-3));
  return SWITCHOVER_FIXED_MS + bytes / Math.max(...rates);
}

/**
 * Mean of the rounds' bandwidths, weighted by bytes and halved with each round of age: a round of
 * ten pages measures latency, and an old one a link that may have changed. Infinity when no round
 * sent enough real bytes to know; 0 when the link gave nothing.
 */
export function smoothedBandwidth(reports: readonly RoundReport[]): number {
  let sum = 0;
  let weights = 0;
  reports.forEach((report, i) => {
    if (report.pages === 0 || report.bytes < report.pages * PAGE_BYTES * INFORMATIVE_SHARE) return;
    const age = reports.length - 1 - i;
    const weight = Math.min(report.bytes, WEIGHT_BYTES_MAX) * 0.5 ** age;
    const measured =
      report.bandwidthBytesPerS > 0
        ? report.bandwidthBytesPerS
        : report.bytes / Math.max(report.durationMs / 1000, 1e-6);
    sum += weight * measured;
    weights += weight;
  });
  return weights > 0 ? sum / weights : Number.POSITIVE_INFINITY;
}

function pays(outlook: Outlook, ratio: number): boolean {
  return outlook.nextRemainingBytes <= outlook.remainingBytes * ratio;
}

/** Waiting for the trough must win something that a person could measure. */
function gainAtTrough(outlook: Outlook): boolean {
  return transferMs(outlook, outlook.remainingBytes - outlook.lowestBytes) > GAIN_MS_MIN;
}

function transferMs(outlook: Outlook, bytes: number): number {
  return (bytes / outlook.bandwidthBytesPerS) * 1000;
}

function describe(outlook: Outlook): string {
  const { remainingBytes, bandwidthBytesPerS } = outlook;
  const rate = Number.isFinite(bandwidthBytesPerS)
    ? `${ms(outlook.downtimeMs - SWITCHOVER_FIXED_MS)} at ${perSecond(bandwidthBytesPerS)}`
    : 'bandwidth not known yet';
  return `${mib(remainingBytes)} remain (${rate})`;
}

function plural(outlook: Outlook): string {
  const rounds = outlook.roundsSinceLowest;
  return rounds === 1 ? '1 round' : `${rounds} rounds`;
}

function mib(bytes: number): string {
  const value = bytes / 1048576;
  return value >= 1024
    ? `${(value / 1024).toFixed(2)} GiB`
    : `${value.toFixed(value < 10 ? 1 : 0)} MiB`;
}

function ms(value: number): string {
  if (!Number.isFinite(value)) return 'for ever';
  return value >= 10_000
    ? `${(value / 1000).toFixed(0)} s`
    : `${value.toFixed(value < 10 ? 1 : 0)} ms`;
}

function perSecond(bytesPerS: number): string {
  return bytesPerS >= 1e9
    ? `${(bytesPerS / 1e9).toFixed(1)} GB/s`
    : `${(bytesPerS / 1e6).toFixed(1)} MB/s`;
}
