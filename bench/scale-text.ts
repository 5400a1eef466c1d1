/**
 * The result of the scale benchmark for people: what docs/results/scale.md has, as rows of Markdown.
 *
 *   scale.ts -> [scale text] -> the terminal
 */
import { markdownTable } from './result-text.ts';
import type { CountFigures, SizeFigures } from './scale-guests.ts';
import { median } from './statistics.ts';

export interface SizeCosts {
  /** Between each size and the one before it. */
  readonly furtherUsPerPage: readonly number[];
  /** The furthest of them from the middle between the least and the most. */
  readonly spreadPercent: number;
  /** What the smallest guest takes beyond its pages: threads, sockets, messages, records. */
  readonly fixedMs: number;
  /** All pages of a move over all its time. */
  readonly dearestPercent: number;
}

/** What the sizes tell together; undefined for fewer than two. In rising order. */
export function sizeCosts(sizes: readonly SizeFigures[]): SizeCosts | undefined {
  const [smallest] = sizes;
  if (smallest === undefined || sizes.length < 2) return undefined;
  const furtherUsPerPage = sizes.slice(1).map((size, i) => {
    const before = sizes[i]!;
    return ((size.moveMs - before.moveMs) * 1000) / (size.pages - before.pages);
  });
  const [least, most] = [Math.min(...furtherUsPerPage), Math.max(...furtherUsPerPage)];
  const perPage = sizes.map(({ usPerPage }) => usPerPage);
  return {
    furtherUsPerPage,
    spreadPercent: ((most - least) / (most + least)) * 100,
    fixedMs: smallest.moveMs - (smallest.pages * median(furtherUsPerPage)) / 1000,
    dearestPercent: (Math.max(...perPage) / Math.min(...perPage) - 1) * 100,
  };
}

export function sizesText(sizes: readonly SizeFigures[]): string {
  const costs = sizeCosts(sizes);
  const titles = ['guest, MiB', 'moves', 'us a page', 'CPU us a page, both ends'];
  const table = markdownTable(
    [...titles, 'time of a move, ms', 'each further page, us'],
    sizes.map(({ mib, moves, usPerPage, cpuUsPerPage, moveMs }, i) => [
      ...[String(mib), String(moves), usPerPage.toFixed(2), cpuUsPerPage.toFixed(1)],
      moveMs.toFixed(0),
      i === 0 ? '' : (costs?.furtherUsPerPage[i - 1]?.toFixed(2) ?? ''),
    ]),
  );
  if (costs === undefined) return table.join('\n');
  const { spreadPercent, fixedMs, dearestPercent } = costs;
  return [
    ...table,
    '',
    `each further page: within ${spreadPercent.toFixed(1)} % of the middle`,
    `a move as such: ${fixedMs.toFixed(1)} ms`,
    `time a page: dearest size ${dearestPercent.toFixed(0)} % above the cheapest`,
  ].join('\n');
}

export function countsText(counts: readonly CountFigures[]): string {
  return markdownTable(
    [
      ...['moves at once', 'guest, MiB', 'all of them, ms', 'GB/s', 'longest downtime, ms'],
      'the first time, ms',
    ],
    counts.map(({ atOnce, mib, totalMs, gbps, worstDowntimeMs, firstMs }) => [
      ...[String(atOnce), String(mib), totalMs.toFixed(0), gbps.toFixed(2)],
      ...[worstDowntimeMs.toFixed(1), firstMs.toFixed(0)],
    ]),
  ).join('\n');
}
