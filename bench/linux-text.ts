/**
 * The result of the linux benchmark for people.
 *
 *   linux.ts -> [linux text] -> the terminal, docs/results/linux.md
 */
import { cpus, loadavg } from 'node:os';
import { medianSteps, STEP_TITLES } from './downtime-steps.ts';
import type { LinuxRun, Samples } from './linux.ts';
import { percentile } from './statistics.ts';

/** Name, and the figures of its moves: median, quartiles, ends. */
function rows({ godwit, qemu }: Samples): readonly (readonly [string, readonly number[]])[] {
  return [
    ['godwit pre-copy', godwit.precopy],
    ['godwit post-copy', godwit.postcopy],
    ['QEMU plain', qemu.plain],
    ['QEMU post-copy', qemu.postcopy],
  ];
}

function figures(times: readonly number[]): string[] {
  const at = (fraction: number) => percentile(times, fraction).toFixed(2);
  return [at(0.5), `${at(0.25)} to ${at(0.75)}`, `${at(0)} to ${at(1)}`, String(times.length)];
}

export function linuxTable(samples: Samples): string {
  return rows(samples)
    .map(([name, times]) => {
      const [middle, quartiles, ends, count] = figures(times);
      return `${name.padEnd(18)}${middle} ms (half of ${count}: ${quartiles}; all: ${ends})`;
    })
    .join('\n');
}

export function linuxMarkdown(samples: Samples, run: LinuxRun): string {
  const day = new Date().toISOString().slice(0, 10);
  const lines = [
    '# Downtime of an idle Linux',
    '',
    `\`npm run bench -- linux --pairs ${run.pairs}\` wrote this file on ${day}. Loopback, ${cpus().length} ` +
      `processors at load ${loadavg()[1]!.toFixed(1)}, ${run.memory} (QEMU: ${run.qemuMemory}, the least that its scripts take), the same kernel, ` +
      `${run.pairs} alternations; milliseconds.`,
    '',
    '| | median | half of them | all | moves |',
    '|---|---|---|---|---|',
    ...rows(samples).map(([name, times]) => `| ${[name, ...figures(times)].join(' | ')} |`),
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
