/**
 * Where a new guest goes when nobody says: the host that the planner would choose for it.
 *
 * Pure. Ties go to the first name, so that the same cluster places the same way twice.
 */
import { GodwitError } from '@godwit/protocol';
import { type PlanHost, plan } from './planner.ts';

/** @throws GodwitError `host.not_found` no host takes guests; `host.no_room` none has the room */
export function place(hosts: readonly PlanHost[], memoryBytes: number): string {
  const { placements } = plan(hosts, [{ name: 'new', memoryBytes, host: '' }]);
  const target = placements[0]?.target;
  if (target !== undefined) return target;
  const open = hosts.filter((host) => host.refuses === undefined);
  const best = open.sort((a, b) => b.roomBytes - a.roomBytes || (a.name < b.name ? -1 : 1))[0];
  if (best === undefined) {
    throw new GodwitError('host.not_found', { host: '(any that takes guests)', known: '' });
  }
  const freeBytes = Math.max(0, best.roomBytes);
  throw new GodwitError('host.no_room', { host: best.name, neededBytes: memoryBytes, freeBytes });
}
