/**
 * A process of its own, because it is to end: a target whose journal cannot be written comes to RUN. Prints
 * its effects in their order.
 */
import { TARGET } from '@godwit/protocol';
import { CoreRunner } from '../../src/migration/core-runner.ts';

const nothing = () => {};
const runner = new CoreRunner(
  TARGET,
  {
    perform: (effect) => {
      console.log(effect);
      if (effect === 'journalRan') throw new Error('no space');
    },
    entered: nothing,
    ignored: nothing,
    failed: nothing,
    overdue: nothing,
    deadlineMs: () => undefined,
  },
  undefined,
);
for (const event of ['reserved', 'handover', 'manifestComplete', 'run'] as const) {
  runner.dispatch(event);
}
