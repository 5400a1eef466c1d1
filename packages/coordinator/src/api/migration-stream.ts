/**
 * One migration to one watcher over a WebSocket: the view now, at every change, and the last one.
 *
 *   migrations.ts --changed--> [migration stream] --JSON text--> `migration watch`, progress screens
 */
import { GodwitError, type Migration } from '@godwit/protocol';
import type { WebSocket } from 'ws';

/** A watcher that reads slowly misses views in between, never the last one. */
const UNSENT_BYTES_MAX = 1024 * 1024;
const AGAIN_MS = 50;
/** WebSocket close codes (RFC 6455 section 7.4.1): policy violation. */
const CLOSE_POLICY = 1008;

/**
 * Sends until the migration has ended or the watcher is gone.
 *
 * @param view throws when the migration was forgotten, long after its end: a watcher that slept through
 *   both is closed with the error's code
 */
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
    try {
      const now = view();
      socket.send(JSON.stringify(now));
      if (now.endedAtMs !== undefined) socket.close(1000);
    } catch (thrown) {
      socket.close(CLOSE_POLICY, GodwitError.from(thrown).code);
    }
  };
  const later = (): void => {
    isDue = true;
    setTimeout(send, AGAIN_MS);
  };
  socket.on('error', () => socket.terminate());
  const end = watch(() => {
    if (!isDue) send();
  });
  socket.on('close', end);
  send();
}
