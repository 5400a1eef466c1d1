/**
 * Quantities as a person reads them. Pure; `options.ts` reads what this writes.
 *
 * Memory is binary (MiB, GiB), link speed decimal (GB/s), because that is how both are sold.
 */

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB'] as const;

/** 1536 -> "1.5 KiB", 268435456 -> "256 MiB". Three digits are enough to compare by eye. */
export function bytesText(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${digits(value)} ${UNITS[unit]}`;
}

/** Bytes per second of guest memory: "50 MiB/s". */
export function rateText(bytesPerS: number): string {
  return `${bytesText(bytesPerS)}/s`;
}

/** Bytes per second of a link: "2.5 GB/s". */
export function linkText(bytesPerS: number): string {
  if (bytesPerS >= 1e9) return `${digits(bytesPerS / 1e9)} GB/s`;
  if (bytesPerS >= 1e6) return `${digits(bytesPerS / 1e6)} MB/s`;
  return `${digits(bytesPerS / 1e3)} kB/s`;
}

/** "0.2 ms", "9 ms", "0.41 s", "73 s". Between two readings of a clock that was set back: "0 ms". */
export function durationText(duration: number): string {
  const ms = Math.max(0, duration);
  if (ms < 100) return `${ms < 10 ? trim(ms.toFixed(1)) : ms.toFixed(0)} ms`;
  if (ms < 1_000) return `${(ms / 1000).toFixed(2)} s`;
  return `${digits(ms / 1000)} s`;
}

/** Blackouts are compared with each other, so they stay in one unit: "0.2 ms", "84 ms", "1,200 ms". */
export function stallText(ms: number): string {
  return `${ms < 10 ? trim(ms.toFixed(1)) : countText(ms)} ms`;
}

/** Age of something alive: "12s", "4m", "3h", "9d". */
export function ageText(ms: number): string {
  const s = Math.max(0, Math.floor(ms / 1000));
  if (s < 60) return `${s}s`;
  if (s < 3600) return `${Math.floor(s / 60)}m`;
  if (s < 86_400) return `${Math.floor(s / 3600)}h`;
  return `${Math.floor(s / 86_400)}d`;
}

/** Local time to the second, sortable. */
export function timeText(atMs: number): string {
  const date = new Date(atMs);
  const two = (n: number) => String(n).padStart(2, '0');
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

/** 262144 -> "262,144", whatever the locale. */
export function countText(count: number): string {
  return String(Math.round(count)).replace(/\B(?=(\d{3})+(?!\d))/g, ',');
}

/** Whole numbers stay whole; others show two significant figures at least. */
function digits(value: number): string {
  if (value >= 100) return value.toFixed(0);
  if (Number.isInteger(value)) return String(value);
  return value.toFixed(value >= 10 ? 1 : 2).replace(/(\.\d)0$/, '$1');
}

function trim(text: string): string {
  return text.replace(/\.0$/, '');
}
