/** Threads that are kept warm: no more of them than are wanted when nothing needs them. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { SCRUB_THREAD } from '../src/guest/memory-pool.ts';
import type { ScrubCommands } from '../src/guest/scrub.worker.ts';
import { endIdleThreads, endSurplusThreads, Thread, warmUp } from '../src/thread.ts';
import { NEEDS_LINUX, threadNames } from './support/thread-names.ts';

after(endIdleThreads);

/** The report of the process lists the worker threads that live. */
const workers = () => process.report.getReport() as unknown as { workers: unknown[] };

test('threads above what is kept warm end, and one that is borrowed does not', async () => {
  await warmUp([[SCRUB_THREAD, 1]]);
  const threads = [1, 2, 3].map(() => new Thread<ScrubCommands>(SCRUB_THREAD));
  const [borrowed, ...others] = threads as [Thread<ScrubCommands>, ...Thread<ScrubCommands>[]];
  for (const thread of others) await thread.close();
  assert.equal(workers().workers.length, 3);
  await endSurplusThreads([[SCRUB_THREAD, 1]]);
  assert.equal(workers().workers.length, 2);
  await borrowed.close();
  await endSurplusThreads([[SCRUB_THREAD, 2]]);
  assert.equal(workers().workers.length, 2);
  await endSurplusThreads([[SCRUB_THREAD, 0]]);
  assert.equal(workers().workers.length, 0);
});

test('a thread is named after its file', NEEDS_LINUX, async () => {
  await warmUp([[SCRUB_THREAD, 1]]);
  const names = threadNames();
  assert.ok(names.includes('scrub'), String(names));
});
