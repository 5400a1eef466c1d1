/**
 * The result of the linux benchmark for people.
 *
 *   linux.ts -> [linux text] -> the terminal, docs/results/linux.md
 */
import { medianSteps, STEP_TITLES } from './downtime-steps.ts';
import type { LinuxRun, Samples } from './linux.ts';
import { markdownTable, reached, SAMPLE_TITLES, sampleCells, writtenBy } from './result-text.ts';
import { median } from './statistics.ts';

/** SPECIFICATION.md promises it. */
const GOAL_MS = 5;

/** Name, and the figures of its moves: median, quartiles, ends. */
function rows({ godwit, qemu }: Samples): readonly (readonly [string, readonly number[]])[] {
  return [
    ['godwit pre-copy', godwit.precopy],
    ['godwit post-copy', godwit.postcopy],
    ['QEMU plain', qemu.plain],
    ['QEMU post-copy', qemu.postcopy],
  ];
}

/** What our medians are held against; each mode on its own. */
function goals({ godwit, qemu }: Samples): readonly string[][] {
  const ours = [median(godwit.precopy), median(godwit.postcopy)];
  const bounds = [
    [`at most ${GOAL_MS} ms`, (ms: number) => ms <= GOAL_MS],
    ['below QEMU plain', (ms: number) => ms < median(qemu.plain)],
    ['below QEMU post-copy', (ms: number) => ms < median(qemu.postcopy)],
  ] as const;
  return bounds.map(([name, holds]) => [name, ...ours.map((ms) => reached(holds(ms)))]);
}

export function linuxTable(samples: Samples): string {
  const figures = rows(samples).map(([name, times]) => {
    const [middle, quartiles, ends] = sampleCells(times, 2);
    return `${name.padEnd(18)}${middle} ms (half of ${times.length}: ${quartiles}; all: ${ends})`;
  });
  const verdicts = goals(samples).map(
    ([name, precopy, postcopy]) => `${name}: pre-copy ${precopy}, post-copy ${postcopy}`,
  );
  return [...figures, ...verdicts].join('\n');
}

export function linuxMarkdown(samples: Samples, run: LinuxRun): string {
  const lines = [
    '# Downtime of an idle Linux',
    '',
    `${writtenBy(`npm run bench -- linux --pairs ${run.pairs}`)}, loopback, ` +
      `${run.memory} (QEMU: ${run.qemuMemory}, the least that its scripts take), the same kernel, ` +
      `${run.pairs} alternations; milliseconds.`,
    '',
    ...markdownTable(
      ['', ...SAMPLE_TITLES, 'moves'],
      rows(samples).map(([name, times]) => [name, ...sampleCells(times, 2), String(times.length)]),
    ),
    '',
    `The goal is ${GOAL_MS} ms and less than QEMU in the same run. Our medians beside it:`,
    '',
    ...markdownTable(['goal', 'pre-copy', 'post-copy'], goals(samples)),
    '',
    'Where ours goes, medians:',
    '',
    `| | ${STEP_TITLES.join(' | ')} |`,
    `|---|${'---|'.repeat(STEP_TITLES.length)}`,
    ...(['precopy', 'postcopy'] as const).map(
      (mode) => `| ${[mode, ...medianSteps(samples.steps[mode])].join(' | ')} |`,
    ),
  ];
  return `${lines.join('\n')}\n`;
}
