/**
 * Which threads an agent starts before anybody needs them: enough for one migration at the default
 * number of channels and one more guest, so that neither waits for code to be loaded.
 */
import { CHANNELS_DEFAULT } from '@godwit/protocol';
import { SCRUB_THREAD } from './guest/memory-pool.ts';
import { MEMORY_THREAD } from './guest/memory-task.ts';
import { VCPU_THREAD } from './guest/vcpus.ts';
import { FAULTS_SERVER, PAGE_CHANNEL } from './source/source-channels.ts';
import { FAULTS_CLIENT, LANDING } from './target/target-channels.ts';

export const WARM_THREADS: readonly (readonly [URL, number])[] = [
  [VCPU_THREAD, 1],
  [MEMORY_THREAD, 2],
  [SCRUB_THREAD, 1],
  [LANDING, CHANNELS_DEFAULT],
  [FAULTS_CLIENT, 1],
  [PAGE_CHANNEL, CHANNELS_DEFAULT],
  [FAULTS_SERVER, 1],
];
