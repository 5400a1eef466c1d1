import { workerData } from 'node:worker_threads';
import { runWorkload } from '../../src/workload/workload.ts';

runWorkload(workerData.memory, workerData.hart);
