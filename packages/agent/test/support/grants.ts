/** Leave to move a guest between this agent, `a`, and a host that may not exist. */
import { CAPABILITY_CHARS } from '@godwit/protocol';
import { MIB, workloadSpec } from './agent-parts.ts';

export const CAPABILITY = 'c'.repeat(CAPABILITY_CHARS);

/** To receive a guest of one MiB that is named like its migration, from a source that does not dial. */
export function grant(migration: string) {
  return {
    type: 'grant',
    migration,
    role: 'target',
    spec: { ...workloadSpec(migration), memoryBytes: MIB },
    epoch: 1,
    source: { host: 'b', incarnation: 'life-1', address: '127.0.0.1:1' },
    target: { host: 'a', incarnation: 'life-2', address: '127.0.0.1:2' },
    capability: CAPABILITY,
    mode: 'precopy',
    channels: 1,
    maxBandwidthBytesPerS: 0,
    maxDowntimeMs: 100,
    verify: false,
  } as const;
}
