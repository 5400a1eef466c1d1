/** A vCPU thread of the workload guest, for tests that run one on a memory of their own. */
import { workerData } from 'node:worker_threads';
import { runWorkload } from '../../src/workload/workload.ts';

runWorkload(workerData.memory, workerData.hart);
