/**
 * Takes pacing off a channel whose two ends are on one machine.
 *
 *   target attached -> [unpaced] -> kernel: no timers between the segments of this socket
 *
 * A congestion control that paces (BBR is the default of some distributions) lets a timer send what does
 * not go at once. Between two machines that keeps queues in switches short. Within one there is no queue
 * to spare and nothing is lost, but each timer is an interrupt, and a kernel thread that takes a processor
 * from the two ends: a fifth of the rate (docs/decisions/0002-data-path.md). Reno is part of every Linux and
 * open to every process (tcp(7)); without loss it never slows down.
 *
 * What an operator chose for the network stays untouched: only one address at both ends is one machine.
 */
import type { Socket } from 'node:net';
import { IPPROTO_TCP, setSocketOption, TCP_CONGESTION } from './socket-option.ts';

const WITHOUT_PACING = Buffer.from('reno');

/** @returns whether both ends are on this machine and the kernel took it */
export function takeOffPacing(socket: Socket): boolean {
  const { localAddress, remoteAddress } = socket;
  if (localAddress === undefined || localAddress !== remoteAddress) return false;
  return setSocketOption(socket, IPPROTO_TCP, TCP_CONGESTION, WITHOUT_PACING);
}
