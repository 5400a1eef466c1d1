/**
 * Child of the store's tests: writes without end and says what is acknowledged.
 *
 *   node store-writer.ts PATH WIDTH
 *
 * WIDTH transactions are always under way, so that commits come in groups. Each writes a pair of
 * records, `left/TERM-N` and `right/TERM-N`; after its acknowledgement comes a line
 * `{"term","n","revision"}`. A stall is said as {"stall": CODE, or null when it is over}.
 */
import { writeSync } from 'node:fs';
import { SqliteStore } from '../src/store/sqlite-store.ts';

const [path, width] = process.argv.slice(2);
const say = (line: object): void => void writeSync(1, `${JSON.stringify(line)}\n`);
const store = new SqliteStore(path!, {
  stalled: (error) => say({ stall: error?.code ?? null }),
});
const value = JSON.stringify({ padding: 'x'.repeat(200) });
let n = 0;

async function write(): Promise<void> {
  for (;;) {
    const name = `${store.term}-${n}`;
    const mine = n;
    n += 1;
    const { revision } = await store.transact(
      [],
      [
        { key: `left/${name}`, value },
        { key: `right/${name}`, value },
      ],
    );
    say({ term: store.term, n: mine, revision });
  }
}

for (let i = 0; i < Number(width); i++) void write();
