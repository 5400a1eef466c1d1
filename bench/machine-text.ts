/**
 * The result of the machine benchmark for people.
 *
 *   machine.ts -> [machine text] -> the terminal, docs/results/machine.md
 */
import type { Measure, Samples } from './machine.ts';
import { markdownTable, reached, SAMPLE_TITLES, sampleCells, writtenBy } from './result-text.ts';
import { median } from './statistics.ts';

/** SPECIFICATION.md promises them. */
const [MIX_MIPS, BOOT_MS] = [100, 8_000];

const NAMES = { godwit: 'godwit', qemu: 'qemu-system-riscv64' } as const;

function titleOf(measure: Measure): string {
  return measure === 'bootMs' ? 'boot, ms' : `${measure}, MIPS`;
}

/** A row for each measure and side; more is better for MIPS, less for the boot. */
function rows(samples: Samples): string[][] {
  return (Object.keys(samples.godwit) as Measure[]).flatMap((measure) =>
    (['godwit', 'qemu'] as const).map((engine) => [
      titleOf(measure),
      NAMES[engine],
      ...sampleCells(samples[engine][measure] ?? [], measure === 'bootMs' ? 0 : 1),
    ]),
  );
}

/** The bounds that this run has figures for. */
function goals({ godwit: { mix, bootMs } }: Samples): string[][] {
  const goal = (name: string, value: number, isReached: boolean) => [
    name,
    value.toFixed(0),
    reached(isReached),
  ];
  const lines: string[][] = [];
  if (mix) lines.push(goal(`mix: at least ${MIX_MIPS} MIPS`, median(mix), median(mix) >= MIX_MIPS));
  if (bootMs) {
    lines.push(goal(`boot: at most ${BOOT_MS} ms`, median(bootMs), median(bootMs) <= BOOT_MS));
  }
  return lines;
}

export function machineTable(samples: Samples): string {
  const figures = rows(samples).map(([measure, engine, middle, , ends]) =>
    [measure!.padEnd(14), engine!.padEnd(21), `${middle} (${ends})`].join(''),
  );
  const verdicts = goals(samples).map(([name, value, word]) => `${name}: ${value}, ${word}`);
  return [...figures, ...verdicts].join('\n');
}

/** @param image what was booted, for people */
export function machineMarkdown(samples: Samples, pairs: number, image: string): string {
  const lines = [
    '# Speed of the machine',
    '',
    `${writtenBy(`npm run bench -- machine --pairs ${pairs}`)}, ${pairs} alternations; the boot is of image ${image}, ` +
      'from the start of the process to the line with which its init hands over to the shell.',
    '',
    ...markdownTable(['', 'who', ...SAMPLE_TITLES], rows(samples)),
    '',
    'What our medians are held against:',
    '',
    ...markdownTable(['goal', 'godwit', ''], goals(samples)),
  ];
  return `${lines.join('\n')}\n`;
}
