/** Process for a test: journals RAN entries and says which are written, until it is killed. */
import { writeSync } from 'node:fs';
import { Journal } from '../../src/state/journal.ts';

const journal = Journal.open(process.argv[2] as string, 'writer');
for (let epoch = 1; epoch <= 2000; epoch++) {
  journal.ran('web', epoch);
  writeSync(1, `${epoch}\n`);
}
