/**
 * Where a new guest goes when nobody says: the connected host with the most free memory.
 *
 * Pure. Ties go to the first name, so that the same cluster places the same way twice.
 */
import { GodwitError, type Host } from '@godwit/protocol';

/** @throws GodwitError `host.not_found` no host is connected; `host.no_room` none has the room */
export function place(hosts: readonly Host[], memoryBytes: number): Host {
  const connected = hosts.filter((host) => host.state === 'connected');
  const [best] = connected.sort((a, b) => b.freeBytes - a.freeBytes || (a.name < b.name ? -1 : 1));
  if (best === undefined) {
    throw new GodwitError('host.not_found', { host: '(any connected)', known: '' });
  }
  if (best.freeBytes < memoryBytes) {
    throw new GodwitError('host.no_room', {
      host: best.name,
      neededBytes: memoryBytes,
      freeBytes: best.freeBytes,
    });
  }
  return best;
}
