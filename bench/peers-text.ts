/**
 * The result of the peers benchmark for people: a table, and bars.
 *
 *   peers.ts -> [peers text] -> docs/results/peers.md and .svg, or peers-quick.md and .svg
 */
import { STEP_TITLES } from './downtime-steps.ts';
import type { PeerResult, Side } from './peers.ts';
import { writtenBy } from './result-text.ts';

const FIGURES: readonly [keyof Side & `${string}Ms`, string][] = [
  ['totalMs', 'total ms'],
  ['downtimeMs', 'downtime ms'],
  ['outsideGapMs', 'outside gap ms'],
];

/** Why these: all that the scripts know were compared once. */
const MODES_TRIED =
  'Ours are all there are. QEMU is given three of those that its scripts know: `plain`, which is what it does ' +
  'unasked; `multifd4`, the most streams; `preempt-r1`, post-copy after the first round with faults overtaking. ' +
  'All of them were compared once, and wherever there was data to move the least total was one of these.';

export interface PeersRun {
  readonly pairs: number;
  readonly memoryMiB: number;
  readonly isWhole: boolean;
  /** File name of the bars, beside the text. */
  readonly picture: string;
}

export function markdown(scenarios: readonly PeerResult[], run: PeersRun): string {
  const { pairs, memoryMiB, isWhole, picture } = run;
  const lines = [
    isWhole ? '# Beside QEMU' : '# Beside QEMU, a quick look',
    '',
    `${writtenBy('npm run bench -- peers')}, loopback, ${memoryMiB} MiB guests, ` +
      `medians of ${pairs} ${pairs === 1 ? 'alternation' : 'alternations'}, each side in the quickest mode it tried.` +
      (isWhole ? '' : ' Too few or too small to compare anything by: the whole run does.'),
    '',
    '| scenario | figure | godwit | QEMU | ratio |',
    '|---|---|---|---|---|',
  ];
  for (const { name, godwit, qemu } of scenarios) {
    lines.push(`| ${name} | mode | ${godwit.mode} | ${qemu.mode} | |`);
    for (const [key, title] of FIGURES) {
      const ratio = (godwit[key] / qemu[key]).toFixed(2);
      lines.push(`| | ${title} | ${godwit[key].toFixed(1)} | ${qemu[key].toFixed(1)} | ${ratio} |`);
    }
  }
  lines.push('', `![total time and downtime](${picture})`, '', '## Every mode that was tried', '');
  lines.push(MODES_TRIED, '');
  lines.push('| scenario | who | mode | total ms | downtime ms | outside gap ms |');
  lines.push('|---|---|---|---|---|---|');
  for (const { name, modes } of scenarios) {
    for (const [who, sides] of Object.entries(modes)) {
      for (const side of sides) {
        const figures = FIGURES.map(([key]) => side[key].toFixed(1));
        lines.push(`| ${[name, who, side.mode, ...figures].join(' | ')} |`);
      }
    }
  }
  lines.push('', '## Where our downtime goes', '');
  lines.push(`| scenario | mode | ${STEP_TITLES.join(' | ')} |`);
  lines.push(`|---|---|${'---|'.repeat(STEP_TITLES.length)}`);
  for (const { name, steps } of scenarios) {
    for (const { mode, cells } of steps) lines.push(`| ${[name, mode, ...cells].join(' | ')} |`);
  }
  return `${lines.join('\n')}\n`;
}

const [ROW, LEFT, WIDTH] = [18, 190, 640];

/** Horizontal bars, a pair for each scenario and figure, each figure on its own scale. */
export function svg(scenarios: readonly PeerResult[]): string {
  const parts: string[] = [];
  let y = 10;
  for (const [key, title] of FIGURES) {
    const most = Math.max(...scenarios.flatMap(({ godwit, qemu }) => [godwit[key], qemu[key]]));
    y += ROW;
    parts.push(text(8, y, title, 'bold'));
    for (const { name, godwit, qemu } of scenarios) {
      for (const [who, value, colour] of [
        ['godwit', godwit[key], '#2a6f97'],
        ['QEMU', qemu[key], '#a9a9a9'],
      ] as const) {
        y += ROW;
        const width = ((WIDTH - LEFT - 70) * value) / most;
        parts.push(text(8, y, `${name} ${who}`));
        parts.push(
          `<rect x="${LEFT}" y="${y - 11}" width="${width.toFixed(1)}" height="13" fill="${colour}"/>`,
        );
        parts.push(text(LEFT + width + 5, y, value.toFixed(1)));
      }
    }
    y += ROW / 2;
  }
  const size = `width="${WIDTH}" height="${y + 10}"`;
  const font = 'font-family="sans-serif" font-size="12"';
  const ground = `<rect ${size} fill="white"/>`;
  return `<svg xmlns="http://www.w3.org/2000/svg" ${size} ${font}>\n${ground}\n${parts.join('\n')}\n</svg>\n`;
}

function text(x: number, y: number, words: string, weight = 'normal'): string {
  return `<text x="${x.toFixed(1)}" y="${y}" font-weight="${weight}">${words}</text>`;
}
