/**
 * Figures as Prometheus reads them: the text exposition format, version 0.0.4.
 *
 *   coordinator, agent --families--> [prometheus] --text--> GET /metrics
 *   (prometheus.io/docs/instrumenting/exposition_formats)
 *
 * A family is made anew at each scrape from what the process knows anyway; only what happens once and
 * is gone (a migration that ended, a request) is counted in a `Counter` or a `Histogram` in between.
 * Labels are never free text: each comes from a table, or from host names, of which a cluster has a
 * bounded number. Guests and migrations are not labels.
 */
import { assert } from './assert.ts';

export type Labels = Readonly<Record<string, string>>;

interface Sample {
  readonly labels?: Labels;
  readonly value: number;
  /** `_bucket`, `_sum`, `_count` of a histogram. */
  readonly suffix?: string;
}

export interface Family {
  /** With its unit, and `_total` for a counter. */
  readonly name: string;
  readonly type: 'gauge' | 'counter' | 'histogram';
  readonly help: string;
  readonly samples: readonly Sample[];
}

/** More than this of one family is a label that should not be one. */
const SAMPLES_MAX = 10_000;

export const EXPOSITION_TYPE = 'text/plain; version=0.0.4; charset=utf-8';

export function exposition(families: readonly Family[]): string {
  return families.map(familyText).join('');
}

/** A gauge or a counter without labels, or with one value for each of a few labels. */
export function gauge(name: string, help: string, samples: number | readonly Sample[]): Family {
  return { name, type: 'gauge', help, samples: samplesOf(samples) };
}

export function counter(name: string, help: string, samples: number | readonly Sample[]): Family {
  assert(name.endsWith('_total'), `${name}: a counter ends with _total`);
  return { name, type: 'counter', help, samples: samplesOf(samples) };
}

/** One sample for each value of `all`, zero included, so that a rate begins before the first event. */
export function countsBy(
  label: string,
  all: readonly string[],
  found: Iterable<string>,
): readonly Sample[] {
  const counts = new Map(all.map((each) => [each, 0]));
  for (const each of found) counts.set(each, (counts.get(each) ?? 0) + 1);
  return [...counts].map(([each, value]) => ({ labels: { [label]: each }, value }));
}

/** Counts by a few labels; grows only. */
export class Counter {
  readonly #name: string;
  readonly #help: string;
  readonly #values = new Map<string, { labels: Labels; value: number }>();

  constructor(name: string, help: string, begin: readonly Labels[] = [{}]) {
    this.#name = name;
    this.#help = help;
    for (const labels of begin) this.add(0, labels);
  }

  add(value: number, labels: Labels = {}): void {
    assert(value >= 0, `${this.#name}: a counter does not fall`);
    const key = JSON.stringify(labels);
    const known = this.#values.get(key);
    if (known === undefined) this.#values.set(key, { labels, value });
    else known.value += value;
  }

  family(): Family {
    return counter(this.#name, this.#help, [...this.#values.values()]);
  }
}

/** How often a figure was at most each of `bounds`; cumulative, as the format wants it. */
export class Histogram {
  readonly #name: string;
  readonly #help: string;
  readonly #bounds: readonly number[];
  readonly #counts: number[];
  #sum = 0;
  #count = 0;

  /** @param bounds rising; the last bucket, +Inf, is added */
  constructor(name: string, help: string, bounds: readonly number[]) {
    assert(
      bounds.every((bound, i) => i === 0 || bound > bounds[i - 1]!),
      `${name}: bounds must rise`,
    );
    this.#name = name;
    this.#help = help;
    this.#bounds = bounds;
    this.#counts = bounds.map(() => 0);
  }

  observe(value: number): void {
    this.#sum += value;
    this.#count += 1;
    this.#bounds.forEach((bound, i) => {
      if (value <= bound) this.#counts[i]! += 1;
    });
  }

  family(): Family {
    const buckets = this.#bounds.map((bound, i) => ({
      suffix: '_bucket',
      labels: { le: String(bound) },
      value: this.#counts[i]!,
    }));
    return {
      name: this.#name,
      type: 'histogram',
      help: this.#help,
      samples: [
        ...buckets,
        { suffix: '_bucket', labels: { le: '+Inf' }, value: this.#count },
        { suffix: '_sum', value: this.#sum },
        { suffix: '_count', value: this.#count },
      ],
    };
  }
}

/** What every process of ours says of itself, under the names that dashboards know. */
export function processFamilies(): Family[] {
  const { rss, heapUsed } = process.memoryUsage();
  const { user, system } = process.cpuUsage();
  const startedS = Date.now() / 1000 - process.uptime();
  return [
    counter('process_cpu_seconds_total', 'User and system CPU time.', (user + system) / 1e6),
    gauge('process_resident_memory_bytes', 'Resident memory.', rss),
    gauge('process_start_time_seconds', 'Unix time of the start.', startedS),
    gauge('nodejs_heap_used_bytes', 'Used JavaScript heap of the main thread.', heapUsed),
  ];
}

function samplesOf(samples: number | readonly Sample[]): readonly Sample[] {
  return typeof samples === 'number' ? [{ value: samples }] : samples;
}

function familyText({ name, type, help, samples }: Family): string {
  assert(samples.length <= SAMPLES_MAX, `${name}: ${samples.length} samples`);
  const lines = samples.map(
    ({ suffix = '', labels, value }) =>
      `${name}${suffix}${labelsText(labels)} ${valueText(value)}\n`,
  );
  return `# HELP ${name} ${help.replaceAll('\\', '\\\\').replaceAll('\n', '\\n')}\n# TYPE ${name} ${type}\n${lines.join('')}`;
}

function labelsText(labels: Labels = {}): string {
  const pairs = Object.entries(labels).map(([key, value]) => `${key}="${escaped(value)}"`);
  return pairs.length === 0 ? '' : `{${pairs.join(',')}}`;
}

function escaped(value: string): string {
  return value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n');
}

function valueText(value: number): string {
  if (Number.isFinite(value)) return String(value);
  return Number.isNaN(value) ? 'NaN' : value > 0 ? '+Inf' : '-Inf';
}
