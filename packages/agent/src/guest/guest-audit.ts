/**
 * The audit of a workload guest: does every page hold what its count of writes says, and is that count
 * not below what a witness outside has heard?
 *
 * The guest stands still meanwhile. The count travels with the memory it explains, so an auditor alone
 * finds a guest in order whose memory and count went back together; the witness does not.
 */
import { mergeAudits, readSpec, type WrongPage, writesDone } from '@godwit/machine';
import { GodwitError, type Message } from '@godwit/protocol';
import type { Guest } from './guest.ts';
import { runMemoryTask } from './memory-task.ts';

export type AuditAnswer = NonNullable<Message<'done'>['audit']>;

/** Holder of the lease; no migration's id. */
const AUDIT = '(audit)';

/**
 * @param witnessWrites the most writes anybody outside has heard of, over all harts
 * @throws GodwitError `guest.bad_spec` for a machine, `guest.busy` in a migration,
 *   `guest.not_running` unless it runs or was stopped by a person
 */
export async function auditGuest(guest: Guest, witnessWrites: number): Promise<AuditAnswer> {
  const { name, state } = guest;
  if (guest.spec.kind !== 'workload') {
    throw new GodwitError('guest.bad_spec', { why: `guest ${name} is no workload` });
  }
  if (state !== 'running' && state !== 'stopped') {
    throw new GodwitError('guest.not_running', { guest: name, state });
  }
  // No migration may begin, and its harvest take dirty bits, while the harts stand for us.
  guest.leaseTo(AUDIT);
  const beganMs = performance.now();
  try {
    if (state === 'running') await guest.stopHarts();
    return await auditStopped(guest, witnessWrites, beganMs);
  } finally {
    if (state === 'running' && guest.ending === undefined) guest.start();
    guest.releaseLease(AUDIT);
  }
}

async function auditStopped(
  guest: Guest,
  witnessWrites: number,
  beganMs: number,
): Promise<AuditAnswer> {
  const { memory } = guest;
  const counts = Array.from({ length: memory.harts }, (_, hart) => writesDone(memory, hart));
  const writes = counts.reduce((sum, count) => sum + count, 0);
  const spec = readSpec(memory);
  const parts = await runMemoryTask(memory, { kind: 'audit', spec, counts });
  const { pagesChecked, wrongCount, wrong } = mergeAudits(parts);
  const isBehind = writes < witnessWrites;
  const firstWrong = isBehind
    ? `the guest claims ${writes} writes, ${witnessWrites} were heard of: memory and count went back`
    : wrong[0] && describe(wrong[0]);
  return {
    pages: pagesChecked,
    wrong: isBehind ? Math.max(wrongCount, 1) : wrongCount,
    writes,
    durationMs: performance.now() - beganMs,
    ...(firstWrong !== undefined && { firstWrong }),
  };
}

function describe({ page, expected, found }: WrongPage): string {
  if (found === 'torn') return `page ${page}: torn, write ${expected} expected`;
  if (found === 'content') return `page ${page}: bytes differ from those of write ${expected}`;
  return `page ${page}: write ${found} found, ${expected} expected`;
}
