/**
 * One migration to one watcher over a WebSocket: the view now, at every change, and the last one.
 *
 *   migrations.ts --changed--> [migration stream] --JSON text--> `migration watch`, progress screens
 */
import type { Migration } from '@godwit/protocol';
import type { WebSocket } from 'ws';

/** A watcher that reads slowly misses views in between, never the last one. */
const UNSENT_BYTES_MAX = 1024 * 1024;
const AGAIN_MS = 50;

/** Sends until the migration has ended or the watcher is gone. */
export function streamMigration(
  socket: WebSocket,
  view: () => Migration,
  watch: (changed: () => void) => () => void,
): void {
  let isDue = false;
  const send = (): void => {
    isDue = false;
    if (socket.readyState !== socket.OPEN) return;
    if (socket.bufferedAmount > UNSENT_BYTES_MAX) return later();
    const now = view();
    socket.send(JSON.stringify(now));
    if (now.endedAtMs !== undefined) socket.close(1000);
  };
  const later = (): void => {
    isDue = true;
    setTimeout(send, AGAIN_MS);
  };
  const end = watch(() => {
    if (!isDue) send();
  });
  socket.on('close', end);
  socket.on('error', () => socket.terminate());
  send();
}
