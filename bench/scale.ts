/**
 * npm run bench -- scale: how cost grows with guests, hosts and moves at once.
 *
 *   npm run bench -- scale [--json] [--only sizes,counts,coordinator]
 *                          [--sizes 64,256,1024,3584] [--agents 1000 --guests 10000]
 *
 * The parts are scale-guests.ts and scale-coordinator.ts. `--json`: the figures as the last line.
 * Results with their bounds are in docs/results/scale.md.
 */
import { parseArgs } from 'node:util';
import { type CoordinatorFigures, scaleCoordinator } from './scale-coordinator.ts';
import { type CountFigures, type SizeFigures, scaleCounts, scaleSizes } from './scale-guests.ts';

const COUNTS = [1, 2, 4, 8];
const COUNTS_MIB = 128;
const QUIET_S = 20;

interface Figures {
  sizes?: SizeFigures[];
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
    figures.sizes = await scaleSizes(values.sizes.split(',').map(Number));
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
  const rows = (list: readonly object[]) => {
    for (const row of list) {
      console.log(
        Object.entries(row)
          .map(([name, value]) => `${name} ${Number(Number(value).toFixed(2))}`)
          .join('   '),
      );
    }
  };
  if (sizes) {
    rows(sizes);
    const costs = sizes.map((each) => each.usPerPage);
    const spread = (Math.max(...costs) / Math.min(...costs) - 1) * 100;
    console.log(`time a page: dearest size ${spread.toFixed(0)} % above the cheapest`);
  }
  if (counts) rows(counts);
  if (coordinator) rows([coordinator]);
}
