/** Child of store.test.ts: writes without end and prints each key after its acknowledgement. */
import { writeSync } from 'node:fs';
import { SqliteStore } from '../src/store/sqlite-store.ts';

const store = new SqliteStore(process.argv[2]!);
for (let n = 0; ; n++) {
  const key = `n/${store.term}-${n}`;
  await store.transact([], [{ key, value: JSON.stringify({ n }) }]);
  writeSync(1, `${key}\n`);
  await new Promise((resolve) => setImmediate(resolve));
}
