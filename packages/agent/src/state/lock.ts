/**
 * The exclusive lock of an agent's state directory: who holds it is the only agent that lives there.
 *
 * It is a fact about the operating system's process table and not about a file's content: the kernel
 * drops it when the process ends, however it ends. So a new incarnation that gets it has proved that
 * the one before is dead (design section 6, proof of death). SQLite's lock is used because Node
 * itself offers none; the database stays empty.
 *
 * POSIX record locks vanish when the process closes *any* descriptor of the file, so nothing else in
 * the daemon may open it.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { GodwitError } from '@godwit/protocol';

/** SQLite's primary result codes for "somebody else has it". */
const SQLITE_BUSY = 5;
const SQLITE_LOCKED = 6;

export class StateLock {
  readonly #database: DatabaseSync;

  private constructor(database: DatabaseSync) {
    this.#database = database;
  }

  /**
   * Makes the directory if need be and takes its lock, at once or not at all.
   *
   * @throws GodwitError `state.locked` while another process holds it, `internal` when the directory
   *   cannot be used
   */
  static take(stateDir: string): StateLock {
    let database: DatabaseSync | undefined;
    try {
      mkdirSync(stateDir, { recursive: true, mode: 0o700 });
      database = new DatabaseSync(join(stateDir, 'lock'), { timeout: 0 });
      database.exec('BEGIN EXCLUSIVE');
      return new StateLock(database);
    } catch (cause) {
      database?.close();
      const code = (cause as { errcode?: number }).errcode;
      if (code === SQLITE_BUSY || code === SQLITE_LOCKED) {
        throw new GodwitError('state.locked', { path: stateDir }, { cause });
      }
      const why = cause instanceof Error ? cause.message : String(cause);
      throw new GodwitError('internal', { why: `state directory ${stateDir}: ${why}` }, { cause });
    }
  }

  release(): void {
    this.#database.close();
  }
}
