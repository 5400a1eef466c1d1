/**
 * setsockopt(2) for a socket of Node's, which offers few options of its own.
 *
 *   receive-low-water.ts: SO_RCVLOWAT        unpaced.ts: TCP_CONGESTION
 *
 * Thread of the socket only. An option is an improvement: where it cannot be set everything works without.
 */
import type { Socket } from 'node:net';
import { libraryFunction } from '../libc.ts';

/** From the system's headers; libc.ts knows no system but Linux. */
export const SOL_SOCKET = 1;
export const SO_RCVLOWAT = 18;
export const IPPROTO_TCP = 6;
export const TCP_CONGESTION = 13;

type SetSocketOption = (
  descriptor: number,
  level: number,
  name: number,
  value: Int32Array | Uint8Array,
  bytes: number,
) => number;

/** Found when a thread starts, not when its first frame comes. */
const setsockopt = libraryFunction<SetSocketOption>(
  'int setsockopt(int descriptor, int level, int name, const void *value, uint32_t bytes)',
);

/** @returns whether the kernel took it; false once the socket is closed, too */
export function setSocketOption(
  socket: Socket,
  level: number,
  name: number,
  value: Int32Array | Uint8Array,
): boolean {
  if (typeof setsockopt === 'string') return false;
  const descriptor = descriptorOf(socket);
  if (descriptor === undefined) return false;
  return setsockopt(descriptor, level, name, value, value.byteLength) === 0;
}

/** Node has no public name for it. Undefined once the socket is closed: then the number may be another's. */
function descriptorOf(socket: Socket): number | undefined {
  const descriptor = (socket as { _handle?: { fd?: number } | null })._handle?.fd;
  return descriptor !== undefined && descriptor >= 0 ? descriptor : undefined;
}
