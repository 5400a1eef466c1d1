/**
 * The result of the peers benchmark for people: a table, and bars.
 *
 *   peers.ts -> [peers text] -> docs/results/peers.md, docs/results/peers.svg
 */
import { STEP_TITLES } from './downtime-steps.ts';
import type { PeerResult, Side } from './peers.ts';

const FIGURES: readonly [keyof Side & `${string}Ms`, string][] = [
  ['totalMs', 'total ms'],
  ['downtimeMs', 'downtime ms'],
  ['outsideGapMs', 'outside gap ms'],
];

export function markdown(
  scenarios: readonly PeerResult[],
  run: { pairs: number; memoryMiB: number },
): string {
  const lines = [
    '# Beside QEMU',
    '',
    '`npm run bench -- peers` wrote this file. Loopback, ' +
      `${run.memoryMiB} MiB guests, medians of ${run.pairs} alternations, each side in its quickest mode.`,
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
  lines.push('', '![total time and downtime](peers.svg)', '', '## Every mode', '');
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
