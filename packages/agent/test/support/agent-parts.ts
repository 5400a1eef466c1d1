/**
 * What the agent's tests share: a log that says nothing, guest specs, directories that go away.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { type GuestImage, guestImagePath } from '@godwit/machine';
import type { GuestSpec } from '@godwit/protocol';
import { pino } from 'pino';

export const MIB = 1048576;
export const silent = pino({ level: 'silent' });

export function workloadSpec(name: string, change: Partial<GuestSpec['workload']> = {}): GuestSpec {
  return {
    name,
    kind: 'workload',
    memoryBytes: 8 * MIB,
    harts: 1,
    clock: 'host',
    workload: { pattern: 'uniform', content: 'random', hotPages: 0, seed: 7, ...change },
  };
}

export function machineSpec(name: string, change: Partial<GuestSpec> = {}): GuestSpec {
  return { name, kind: 'machine', memoryBytes: 16 * MIB, harts: 1, clock: 'host', ...change };
}

export function image(name: GuestImage): Uint8Array {
  return readFileSync(guestImagePath(name));
}

export function stateDir(t: TestContext): string {
  const path = mkdtempSync(join(tmpdir(), 'godwit-agent-'));
  t.after(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

/** Resolves when `holds` does, looking every few milliseconds; the limit is for a broken build. */
export async function until(what: string, holds: () => boolean, limitMs = 20_000): Promise<void> {
  const endsAtMs = performance.now() + limitMs;
  while (!holds()) {
    if (performance.now() > endsAtMs) throw new Error(`still waiting for: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}
