/**
 * npm run bench -- scale: how cost grows with guests, hosts and moves at once.
 *
 *   npm run bench -- scale [--json] [--only sizes,counts,coordinator]
 *                          [--sizes 64,256,1024,3584] [--agents 1000 --guests 10000]
 *
 * The parts are scale-guests.ts and scale-coordinator.ts; scale-text.ts prints the tables of
 * docs/results/scale.md, where results are with their bounds. `--json`: the figures as the last line.
 */
import { parseArgs } from 'node:util';
import { type CoordinatorFigures, scaleCoordinator } from './scale-coordinator.ts';
import { type CountFigures, type SizeFigures, scaleCounts, scaleSizes } from './scale-guests.ts';
import { countsText, type SizeCosts, sizeCosts, sizesText } from './scale-text.ts';

const COUNTS = [1, 2, 4, 8];
const COUNTS_MIB = 128;
const QUIET_S = 20;

interface Figures {
  sizes?: SizeFigures[];
  sizeCosts?: SizeCosts | undefined;
  counts?: CountFigures[];
  coordinator?: CoordinatorFigures;
}

export async function scale(args: string[]): Promise<void> {
  const { values } = parseArgs({
    args,
    options: {
      json: { type: 'boolean', default: false },
      only: { type: 'string', default: 'sizes,counts,coordinator' },
      sizes: { type: 'string', default: '64,256,1024,3584' },
      agents: { type: 'string', default: '1000' },
      guests: { type: 'string', default: '10000' },
    },
  });
  const parts = values.only.split(',');
  const figures: Figures = {};
  if (parts.includes('sizes')) {
    const sizes = values.sizes.split(',').map(Number);
    figures.sizes = await scaleSizes(sizes.toSorted((a, b) => a - b));
    figures.sizeCosts = sizeCosts(figures.sizes);
  }
  if (parts.includes('counts')) figures.counts = await scaleCounts(COUNTS, COUNTS_MIB);
  if (parts.includes('coordinator')) {
    const size = { agents: Number(values.agents), guests: Number(values.guests) };
    figures.coordinator = await scaleCoordinator({ ...size, quietS: QUIET_S });
  }
  print(figures);
  if (values.json) console.log(JSON.stringify(figures));
}

function print({ sizes, counts, coordinator }: Figures): void {
  if (sizes) console.log(sizesText(sizes));
  if (counts) console.log(countsText(counts));
  for (const [name, value] of Object.entries(coordinator ?? {})) {
    console.log(`${name} ${Number(Number(value).toFixed(2))}`);
  }
}
